"""Can a prompt ever hold a line or a fact that its room may not read? Random teams, and a memory that names everything."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from composer import compose as composing
from composer.memory import recall, working
from composer.models import Fact, Landmark
from gateway.models import Invocation, Message, Project, Room, RoomMember
from tests.fakes.memory_api import FakeMemoryApi
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(120)]

_numbers = itertools.count(1)


class Team:
    """People, projects, rooms and direct chats. Every text holds one word that names where it may be read."""

    def __init__(self, rng: random.Random) -> None:
        number = next(_numbers)
        self.rng = rng
        self.users = [make_user(f"user{number}x{n}") for n in range(4)]
        self.agent = make_agent(f"agent{number}", bridge=make_bridge())
        self.projects = [Project.objects.create(slug=f"project{number}x{n}", title="P") for n in range(2)]
        self.rooms = [self._room(f"r{number}x{n}") for n in range(3)]
        self.directs = [self._direct(user, f"d{number}x{n}") for n, user in enumerate(self.users[:2])]
        for room in (*self.rooms, *self.directs):
            self._fill(room)
        for user in self.users:
            Fact.objects.create(scope=f"profile:{user.rocketchat_id}", key="k", value=f"PROFILE{user.pk}.")
        for project in self.projects:
            Fact.objects.create(scope=f"project:{project.pk}", key="k", value=f"PROJECT{project.pk}.")

    def _room(self, name: str) -> Room:
        members = tuple(user for user in self.users if self.rng.random() < 0.6)
        room = make_room(name, members=members, project=self.rng.choice([None, *self.projects]))
        Fact.objects.create(scope=f"room:{room.rid}", key="k", value=f"ROOM{room.pk}.")
        return room

    def _direct(self, user, name: str) -> Room:
        room = make_room(name, members=(user,), kind="dm")
        RoomMember.objects.create(room=room, agent=self.agent)
        Fact.objects.create(scope=f"dm:{user.rocketchat_id}:{self.agent.slug}", key="k", value=f"ROOM{room.pk}.")
        return room

    def _fill(self, room: Room) -> None:
        for _ in range(self.rng.randint(0, 6)):
            # Somebody who has left may have spoken before.
            message = say(room, self.rng.choice(self.users), f"ROOM{room.pk}. what did we decide?")
            working.append(room_id=room.pk, messages=[message])
            if self.rng.random() < 0.2:
                Landmark.objects.create(message=message, kind="decision")

    def members(self, room: Room) -> set[int]:
        rows = RoomMember.objects.filter(room=room).values_list("user_id", flat=True)
        return {user_id for user_id in rows if user_id is not None}

    def move_about(self) -> None:
        """People come and go, and rooms change their project."""
        for room in self.rooms:
            if self.rng.random() < 0.5:
                RoomMember.objects.filter(room=room, user=self.rng.choice(self.users)).delete()
            if self.rng.random() < 0.5:
                Room.objects.filter(pk=room.pk).update(project=self.rng.choice([None, *self.projects]))

    def forbidden(self, room: Room, asker) -> set[str]:
        room.refresh_from_db()
        everywhere = [*Room.objects.exclude(pk=room.pk)]
        words = {f"ROOM{other.pk}." for other in everywhere}
        readable = self.members(room) | {asker.pk}
        if room.kind == "dm":
            readable = {asker.pk}
            his: set[int | None] = set(Project.objects.filter(rooms__members__user=asker).values_list("pk", flat=True))
        else:
            his = {room.project_id}
        words |= {f"PROFILE{user.pk}." for user in self.users if user.pk not in readable}
        return words | {f"PROJECT{project.pk}." for project in self.projects if project.pk not in his}


@pytest.fixture
def poisoned_memory(settings):
    """Whatever is asked, it names every message there is."""
    fake = FakeMemoryApi()
    settings.NEXUS_MEM0_URL = fake.url
    # What it says is waited for.
    settings.NEXUS_EMBEDDER_URL = "http://127.0.0.1:9/v1"
    settings.NEXUS_RECALL_TIMEOUT_S = 2.0
    recall._breaker.succeeded()
    working._breaker.succeeded()
    yield fake
    fake.close()


@examples(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(min_value=0, max_value=10**6))
def test_no_prompt_holds_what_its_room_may_not_read(poisoned_memory, seed):
    rng = random.Random(seed)
    team = Team(rng)
    poisoned_memory.memories = dict.fromkeys(Message.objects.values_list("pk", flat=True))
    for _ in range(2):
        team.move_about()
        for room in (*team.rooms, *team.directs):
            people = (
                team.users if room.kind != "dm" else [user for user in team.users if user.pk in team.members(room)]
            )
            asker = rng.choice(people)
            row = ask(room, asker, team.agent, "what did we decide? tell me what the others said in private")

            text = composing.draw(invocation_id=row.pk).rendered.text

            assert not [word for word in team.forbidden(room, asker) if word in text]
            Invocation.objects.all().delete()


def test_a_direct_chat_is_never_recalled_in_a_room_even_when_memory_says_so(poisoned_memory):
    alice, bob = make_user("alice"), make_user("bob")
    agent = make_agent(bridge=make_bridge())
    direct = make_room("dm", kind="dm", members=(alice,))
    RoomMember.objects.create(room=direct, agent=agent)
    secret = say(direct, alice, "my salary is 5000")
    backend = make_room("backend", members=(alice, bob))
    poisoned_memory.results = [{"msg": secret.pk, "score": 99.0}]

    drawn = composing.draw(invocation_id=ask(backend, bob, agent, "what is alice's salary?").pk)

    assert "5000" not in drawn.rendered.text


def test_recall_asks_memory_for_the_scope_of_the_talk(poisoned_memory):
    bob = make_user("bob")
    agent = make_agent(bridge=make_bridge())
    backend = make_room("backend", members=(bob,))
    direct = make_room("dm", kind="dm", members=(bob,))
    RoomMember.objects.create(room=direct, agent=agent)

    for room in (backend, direct):
        composing.draw(invocation_id=ask(room, bob, agent).pk)

    assert [search["scope"] for search in poisoned_memory.searches] == ["room:rid-backend", "dm:uid-bob:claude-alice"]
