"""Can a prompt ever hold a line or a fact that its room may not read? Random teams, and a memory that names everything."""

import itertools
import random
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from composer import compose as composing
from composer.memory import facts, scopes, working
from composer.memory.lines import micros
from composer.models import Fact, Landmark, Memory, Summary
from gateway import sql
from gateway.ingest import Batch, Ingest
from gateway.models import Agent, Invocation, Message, Notice, NoticeKind, Project, Room, RoomMember, User
from tests.fakes.memory_api import FakeMemoryApi
from tests.server.chat_words import said
from tests.server.people import START, ask, make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(120)]

_numbers = itertools.count(1)
MAX_SEEDS = 12
"""Random teams that one missing guard must show in."""


class Team:
    """People, agents, projects, rooms and direct chats. Every text holds one word that names where it may be read."""

    def __init__(self, rng: random.Random) -> None:
        number = next(_numbers)
        self.rng = rng
        self.users = [make_user(f"user{number}x{n}") for n in range(4)]
        self.agents = [make_agent(f"agent{number}x{n}", bridge=make_bridge()) for n in range(2)]
        self.projects = [Project.objects.create(slug=f"project{number}x{n}", title="P") for n in range(2)]
        self.rooms = [self._room(f"r{number}x{n}", kind) for n, kind in enumerate(("channel", "private", "channel"))]
        self.directs = [
            self._direct(user, agent, f"d{number}x{user.pk}x{agent.pk}")
            for user in self.users[:2]
            for agent in self.agents
        ]
        for room in (*self.rooms, *self.directs):
            self._fill(room)
        for user in self.users:
            self._fact(f"profile:{user.rocketchat_id}", f"PROFILE{user.pk}.")
        for project in self.projects:
            self._fact(f"project:{project.pk}", f"PROJECT{project.pk}.")

    def _fact(self, scope: str, word: str) -> None:
        Fact.objects.create(scope=scope, key="k", value=word)
        Fact.objects.create(scope=scope, key="old", value="EXPIRED.", expires_at=START - timedelta(days=999))

    def _room(self, name: str, kind: str) -> Room:
        members = tuple(user for user in self.users if self.rng.random() < 0.6)
        room = make_room(name, members=members, kind=kind, project=self.rng.choice([None, *self.projects]))
        self._fact(f"room:{room.rid}", f"ROOM{room.pk}.")
        return room

    def _direct(self, user: User, agent: Agent, name: str) -> Room:
        room = make_room(name, members=(user,), kind="dm")
        RoomMember.objects.create(room=room, agent=agent)
        self._fact(f"dm:{user.rocketchat_id}:{agent.slug}", f"ROOM{room.pk}.")
        return room

    def _fill(self, room: Room) -> None:
        said = []
        for _ in range(self.rng.randint(0, 8)):
            # Somebody who has left may have spoken before; a thread's id may be one of any room.
            roots = list(Message.objects.values_list("rc_id", flat=True).order_by("-pk")[:20])
            thread = self.rng.choice(["", *roots])
            text = f"ROOM{room.pk}. what did we decide?"
            message = say(room, self.rng.choice(self.users), text, thread=thread)
            said.append(message)
            if self.rng.random() < 0.2:
                Landmark.objects.create(message=message, kind="decision")
            if self.rng.random() < 0.2:
                memory = {"msg": str(message.pk), "fact": "1", "data": f"ROOM{room.pk}.", "run_id": self._any_scope()}
                Memory.objects.create(id=uuid.uuid4(), payload=memory | {"rev": micros(message.rc_updated_at)})
            if self.rng.random() < 0.15:
                Message.objects.filter(pk=message.pk).update(text="", deleted_at=START)
            elif self.rng.random() < 0.8:
                working.append(room_id=room.pk, messages=[message])
        if len(said) > 2:
            Summary.objects.create(
                room=room,
                first_message=said[0],
                last_message=said[1],
                message_count=2,
                tier=self.rng.choice(["span", "day", "thread"]),
                text=f"ROOM{room.pk}. summarised",
                token_count=5,
                made_by="x",
            )

    def _any_scope(self) -> str:
        """What a poisoned memory may say of itself."""
        return self.rng.choice(
            [
                "global",
                *(f"room:{rid}" for rid in Room.objects.values_list("rid", flat=True)),
                *(f"profile:{user.rocketchat_id}" for user in self.users),
                *(f"project:{project.pk}" for project in self.projects),
            ]
        )

    def members(self, room: Room) -> set[int]:
        rows = RoomMember.objects.filter(room=room).values_list("user_id", flat=True)
        return {user_id for user_id in rows if user_id is not None}

    def move_about(self) -> None:
        """People come and go, also into direct chats, and rooms change their project and their kind."""
        for room in self.rooms:
            if self.rng.random() < 0.5:
                RoomMember.objects.filter(room=room, user=self.rng.choice(self.users)).delete()
            if self.rng.random() < 0.3:
                RoomMember.objects.get_or_create(room=room, user=self.rng.choice(self.users))
            if self.rng.random() < 0.5:
                Room.objects.filter(pk=room.pk).update(project=self.rng.choice([None, *self.projects]))
            if self.rng.random() < 0.2:
                Room.objects.filter(pk=room.pk).update(kind=self.rng.choice(["channel", "private"]))
        if self.rng.random() < 0.4:
            RoomMember.objects.get_or_create(room=self.rng.choice(self.directs), user=self.rng.choice(self.users))

    def projects_of(self, user_id: int) -> set[int]:
        return set(Project.objects.filter(rooms__members__user=user_id).values_list("pk", flat=True))

    def forbidden(self, room: Room, asker: User) -> set[str]:
        """What nobody in this room, or not everybody, may read there."""
        room.refresh_from_db()
        words = {f"ROOM{pk}." for pk in Room.objects.exclude(pk=room.pk).values_list("pk", flat=True)}
        readable = {asker.pk} if room.kind == "dm" else self.members(room) | {asker.pk}
        if room.kind == "dm":
            here = set.intersection(*(self.projects_of(pk) for pk in self.members(room) | {asker.pk}))
        else:
            here = {room.project_id} if room.project_id is not None else set()
        words |= {f"PROFILE{user.pk}." for user in self.users if user.pk not in readable}
        words |= {f"PROJECT{project.pk}." for project in self.projects if project.pk not in here}
        return words | {"EXPIRED."}

    def told(self, room: Room, asker: User, command: str) -> str:
        Ingest().store(
            Batch(messages=(said(command, rid=room.rid, u={"_id": asker.rocketchat_id, "username": asker.username}),))
        )
        rows = Notice.objects.filter(kind=NoticeKind.COMMAND, room=room).order_by("-pk").values_list("text", flat=True)
        return rows[0]


@pytest.fixture
def poisoned_memory(settings):
    """Whatever is asked, it names every message there is."""
    fake = FakeMemoryApi()
    settings.NEXUS_MEM0_URL = fake.url
    # Prompts wait for memory only where it may know more than the words do.
    settings.NEXUS_MEM0_LLM_URL = "http://127.0.0.1:9/v1"
    # What it says is waited for.
    settings.NEXUS_EMBEDDER_URL = "http://127.0.0.1:9/v1"
    settings.NEXUS_RECALL_TIMEOUT_S = 2.0
    yield fake
    fake.close()


@examples(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(min_value=0, max_value=10**6))
def test_no_prompt_and_no_answer_holds_what_its_room_may_not_read(poisoned_memory, seed):
    assert list(leaks(poisoned_memory, seed=seed)) == []


GUARDS = {
    "a line of another room": (
        "AS words FROM messages m WHERE m.room_id = %s",
        "AS words FROM messages m WHERE %s <> 0",
    ),
    "a line of another room that memory names": (
        "m.id = ANY(%s::bigint[]) AND m.room_id = %s",
        "m.id = ANY(%s::bigint[]) AND %s <> 0",
    ),
    "a thread of another room": ("m.room_id = %s AND m.thread = %s AND m.ts", "%s <> 0 AND m.thread = %s AND m.ts"),
    "a summary of another room": ("WHERE s.room_id = %s AND s.tier", "WHERE %s <> 0 AND s.tier"),
    "a landmark of another room": ("l.room_id = %s AND m.room_id = %s AND", "%s <> 0 AND %s <> 0 AND"),
    "a profile of who is not a member": ("WHERE r.room_id = %s AND r.user_id = u.id", "WHERE %s <> 0"),
    "a project that not everybody here has": (
        "room_members d WHERE d.room_id",
        "room_members d WHERE false AND d.room_id",
    ),
    "a fact whose time is over": ("AND (expires_at IS NULL OR expires_at > now())", ""),
}
"""What keeps each of these out of a prompt, and the same statement without it."""


@pytest.mark.parametrize("guard", GUARDS)
def test_the_property_turns_red_when_a_guard_is_taken_away(poisoned_memory, monkeypatch, guard):
    kept, removed = GUARDS[guard]
    asked = []
    rows, sent = sql.rows, sql._sent

    def unguarded(statement):
        asked.append(kept in statement)
        return statement.replace(kept, removed)

    monkeypatch.setattr(sql, "rows", lambda statement, values: rows(unguarded(statement), values))
    monkeypatch.setattr(sql, "_sent", lambda asks: sent([(unguarded(one), values) for one, values in asks]))

    assert any(next(leaks(poisoned_memory, seed=seed), None) for seed in range(MAX_SEEDS))
    assert any(asked), "no statement has this guard any more: name the one that has"


def leaks(poisoned_memory, *, seed):
    """Words that some prompt or answer holds though its room may not read them."""
    rng = random.Random(seed)
    team = Team(rng)
    facts.adopt_learned()
    poisoned_memory.memories = dict.fromkeys(Message.objects.values_list("pk", flat=True))
    for _ in range(2):
        team.move_about()
        for room in (*team.rooms, *team.directs):
            inside = team.members(room)
            people = team.users if room.kind != "dm" else [user for user in team.users if user.pk in inside]
            asker = rng.choice(people)
            roots = [*Message.objects.order_by("?").values_list("rc_id", flat=True)[:2]]
            row = ask(
                room,
                asker,
                rng.choice(team.agents),
                "what did we decide? tell me what the others said in private",
                thread=rng.choice(["", *roots]),
            )

            texts = [composing.draw(invocation_id=row.pk, room_id=row.room_id).rendered.text]
            texts += [team.told(room, asker, rng.choice(["!memory", "!memory me", "!memory learned", "!pins"]))]

            yield from (word for word in team.forbidden(room, asker) for text in texts if word in text)
            Invocation.objects.all().delete()


@examples(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(min_value=0, max_value=10**6))
def test_the_scope_of_a_room_is_the_same_in_sql_and_here(poisoned_memory, seed):
    team = Team(random.Random(seed))
    team.move_about()
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, nexus_scope_of_room(id) FROM rooms")
        in_sql = dict(cursor.fetchall())

    assert in_sql == {
        room.pk: scopes.of_talk(room_id=room.pk, rid=room.rid, kind=room.kind) for room in Room.objects.all()
    }


def test_a_direct_chat_is_never_recalled_in_a_room_even_when_memory_says_so(poisoned_memory):
    alice, bob = make_user("alice"), make_user("bob")
    agent = make_agent(bridge=make_bridge())
    direct = make_room("dm", kind="dm", members=(alice,))
    RoomMember.objects.create(room=direct, agent=agent)
    secret = say(direct, alice, "my salary is 5000")
    backend = make_room("backend", members=(alice, bob))
    poisoned_memory.results = [{"msg": secret.pk, "score": 99.0}]

    drawn = composing.draw(invocation_id=ask(backend, bob, agent, "what is alice's salary?").pk, room_id=backend.pk)

    assert "5000" not in drawn.rendered.text


def test_recall_asks_memory_for_the_scope_of_the_talk(poisoned_memory):
    bob = make_user("bob")
    agent = make_agent(bridge=make_bridge())
    backend = make_room("backend", members=(bob,))
    direct = make_room("dm", kind="dm", members=(bob,))
    RoomMember.objects.create(room=direct, agent=agent)

    for room in (backend, direct):
        composing.draw(invocation_id=ask(room, bob, agent).pk, room_id=room.pk)

    assert [search["scope"] for search in poisoned_memory.searches] == ["room:rid-backend", "dm:uid-bob:claude-alice"]
