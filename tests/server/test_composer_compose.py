"""Does a claimed row get the prompt that its room's talk, facts, pins and tools make?"""

import pytest
from django.conf import settings
from django.utils import timezone

from composer import compose as composing
from composer.models import Fact, Landmark, Prompt
from gateway import invocations, pipeline
from gateway.models import Invocation, McpServer, Message, Notice, Project, RoomMember, RoomTool, State
from gateway.room_lock import room_lock
from tests.fakes.memory_api import FakeMemoryApi
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def alice():
    return make_user("alice")


@pytest.fixture
def bob():
    return make_user("bob")


@pytest.fixture
def agent(alice):
    return make_agent(owner=alice, bridge=make_bridge(owner=alice))


@pytest.fixture
def backend(alice, bob):
    return make_room("backend", members=(alice, bob))


def compose(row):
    composed_id = composing.compose(invocation_id=row.pk)
    assert composed_id == row.pk
    return Prompt.objects.get(invocation=row)


def test_a_prompt_holds_what_was_said_before_and_ends_with_the_question(backend, alice, bob, agent):
    say(backend, alice, "We decided to take Postgres for the orders.")
    row = ask(backend, bob, agent, "what did we decide about the database?")

    prompt = compose(row)

    mark = prompt.text.split()[0]
    lines = prompt.text.strip().splitlines()
    assert f"{mark} alice: We decided to take Postgres for the orders." in lines
    assert lines[-1] == f"{mark} bob: @claude-alice what did we decide about the database?"
    assert "from_id=uid-bob" in lines[0]
    assert "room=#backend" in lines[0]


def test_the_first_message_of_an_empty_room_is_a_prompt_of_its_own(backend, bob, agent):
    prompt = compose(ask(backend, bob, agent, "what now?"))

    # Nobody serves memory here, and the prompt may say so.
    assert [part["title"] for part in prompt.sections if part["title"] != "Recalled"] == ["", "Question"]
    assert [entry for entry in prompt.left_out if entry["what"] != "recall"] == []


def test_a_question_and_a_talk_of_megabytes_stay_within_the_budget(backend, alice, bob, agent):
    for number in range(3):
        say(backend, alice, f"note {number}: " + "lorem ipsum " * 90_000)
    say(backend, alice, "the port is 5433")

    prompt = compose(ask(backend, bob, agent, "which port? " + "x y " * 260_000))

    assert prompt.token_count <= prompt.budget
    assert "the port is 5433" in prompt.text
    assert "characters left out" in prompt.text


def test_the_row_moves_on_with_its_prompt(backend, bob, agent):
    row = ask(backend, bob, agent)

    prompt = compose(row)

    row.refresh_from_db()
    assert row.state == State.COMPOSED
    assert prompt.fence == row.fence
    assert 0 < prompt.token_count <= prompt.budget == settings.NEXUS_PROMPT_BUDGET


@pytest.mark.parametrize("token_percent", [25, 100, 400])
def test_an_agent_whose_model_counts_otherwise_gets_a_prompt_of_its_own_tokens(backend, alice, bob, token_percent):
    agent = make_agent(bridge=make_bridge(), prompt_budget=4_000, token_percent=token_percent)
    for number in range(60):
        say(backend, alice, f"CI is red for reason {number}: " + "the build broke again " * 5)

    prompt = compose(ask(backend, bob, agent))

    estimate = sum(section["token_count"] for section in prompt.sections)
    assert prompt.token_count == -(-estimate * token_percent // 100) <= 4_000


def test_every_line_says_where_it_came_from(backend, alice, bob, agent):
    said = say(backend, alice, "The port is 5433.")
    row = ask(backend, bob, agent)

    prompt = compose(row)

    sources = [source for section in prompt.sections for source in section["sources"]]
    assert {"kind": "message", "id": said.pk, "rc_id": said.rc_id} in sources
    assert all(section["token_count"] > 0 for section in prompt.sections)


def test_facts_of_room_project_and_people_are_told(backend, alice, bob, agent):
    backend.project = Project.objects.create(slug="shop", title="Shop")
    backend.save()
    Fact.objects.create(scope="profile:uid-bob", key="role", value="backend developer")
    Fact.objects.create(scope=f"project:{backend.project.pk}", key="deploys", value="on Tuesdays")
    Fact.objects.create(scope="room:rid-backend", key="ci", value="GitLab")
    Fact.objects.create(scope="room:rid-other", key="secret", value="of another room")

    text = compose(ask(backend, bob, agent)).text

    assert "bob.role: backend developer" in text
    assert "shop.deploys: on Tuesdays" in text
    assert " ci: GitLab" in text
    assert "another room" not in text


def test_the_profile_of_somebody_who_left_the_room_is_not_told(backend, alice, bob, agent):
    charlie = make_user("charlie")
    say(backend, charlie, "bye")
    Fact.objects.create(scope="profile:uid-charlie", key="phone", value="555")

    text = compose(ask(backend, bob, agent)).text

    assert "555" not in text


def test_a_pinned_message_is_in_the_prompt_although_the_window_has_passed_it(backend, alice, bob, agent, settings):
    settings.NEXUS_WORKING_MEMORY = 5
    pinned = say(backend, alice, "decision: we ship on Friday")
    Landmark.objects.create(message=pinned, kind="decision")
    for number in range(8):
        say(backend, bob, f"chatter {number}")

    text = compose(ask(backend, bob, agent)).text

    assert "alice: decision: we ship on Friday" in text
    assert "chatter 0" not in text


def test_only_tools_of_this_room_on_serving_servers_are_listed(backend, bob, agent):
    other = make_room("other")
    serving = McpServer.objects.create(
        name="github",
        transport="http",
        is_enabled=True,
        definition_hash="a",
        approved_hash="a",
        tools=[{"name": "issues", "description": "Lists issues"}],
    )
    changed = McpServer.objects.create(
        name="shell", transport="http", is_enabled=True, definition_hash="b", approved_hash="a"
    )
    RoomTool.objects.create(room=backend, server=serving, tool="issues", needs_approval=False)
    RoomTool.objects.create(room=backend, server=changed, tool="exec")
    RoomTool.objects.create(room=other, server=serving, tool="delete")

    text = compose(ask(backend, bob, agent)).text

    assert "github.issues: Lists issues" in text
    assert "shell.exec" not in text
    assert "github.delete" not in text


def test_the_persona_stands_in_the_prompt(backend, alice, bob):
    agent = make_agent("reviewer", bridge=make_bridge(), persona="You review code.\nYou are strict.")

    text = compose(ask(backend, bob, agent)).text

    assert "You review code.\nYou are strict." in text


def test_a_prompt_says_that_memory_was_not_reachable(backend, bob, agent, settings):
    settings.NEXUS_MEM0_URL = "http://127.0.0.1:9"
    settings.NEXUS_EMBEDDER_URL = "http://127.0.0.1:9/v1"

    prompt = compose(ask(backend, bob, agent))

    assert "Memory could not be reached" in prompt.text
    assert any(entry["what"] == "recall" for entry in prompt.left_out)


@pytest.fixture
def memory(settings):
    fake = FakeMemoryApi()
    settings.NEXUS_MEM0_URL = fake.url
    settings.NEXUS_RECALL_TIMEOUT_S = 2.0
    settings.NEXUS_WORKING_MEMORY = 3
    yield fake
    fake.close()


def test_letters_are_asked_where_the_words_find_too_little(backend, alice, bob, agent, memory):
    old = say(backend, alice, "The prrt is 5433.")
    for number in range(5):
        say(backend, alice, f"Lunch number {number} was soup.")
    memory.results = [{"msg": old.pk, "score": 0.4}]

    prompt = compose(ask(backend, bob, agent, "where does it listen?"))

    assert len(memory.searches) == 1
    assert "The prrt is 5433." in prompt.text


@pytest.mark.parametrize(("lines", "about"), [(1, "soup"), (400, "where the orders listen")], ids=["small", "plenty"])
def test_letters_are_not_asked_where_they_could_add_nothing(backend, alice, bob, agent, memory, lines, about):
    for number in range(lines):
        say(backend, alice, f"Note {number}: the orders listen on port 5433, says {number} of the notes we keep here.")

    compose(ask(backend, bob, agent, f"{about}?"))

    assert memory.calls == []


@pytest.mark.parametrize("lines", [1, 400])
def test_an_embedder_is_always_asked(backend, alice, bob, agent, memory, settings, lines):
    settings.NEXUS_EMBEDDER_URL = "http://127.0.0.1:9/v1"
    for number in range(lines):
        say(backend, alice, f"Note {number}: the orders listen on port 5433, says {number} of the notes we keep here.")

    compose(ask(backend, bob, agent, "where do the orders listen?"))

    assert len(memory.searches) == 1


def test_who_lost_the_row_while_composing_stores_nothing(backend, bob, agent):
    row = ask(backend, bob, agent)
    claim = invocations.claim_next(invocation_id=row.pk)
    assert claim is not None
    drawn = composing.draw(invocation_id=row.pk, room_id=row.room_id)
    invocations.compose_crashed(invocation_id=row.pk, fence=claim.fence, crashes=1)

    is_ours = composing.hand_over(claim=claim, drawn=drawn)

    assert not is_ours
    assert not Prompt.objects.exists()


def test_a_row_that_is_composed_again_gets_a_fresh_prompt(backend, bob, agent):
    row = ask(backend, bob, agent)
    compose(row)
    invocations.park(invocation_id=row.pk)
    invocations.unpark(invocation_id=row.pk)

    prompt = compose(row)

    assert prompt.fence == 2
    assert Prompt.objects.count() == 1


def test_a_taken_room_lock_leaves_the_row_to_its_holder(backend, bob, agent):
    row = ask(backend, bob, agent)

    with room_lock(room_id=backend.pk):
        outcome = composing.compose(invocation_id=row.pk)

    assert outcome is None
    assert Invocation.objects.get(pk=row.pk).state == State.QUEUED
    assert composing.claim_and_compose(invocation_id=row.pk) == row.pk


def test_whoever_lets_the_room_lock_go_starts_the_next_row_of_the_room(backend, bob, agent, monkeypatch):
    other = make_agent("other", bridge=make_bridge())
    first, second = ask(backend, bob, agent), ask(backend, bob, other)
    started = []
    monkeypatch.setattr(pipeline, "start", lambda *, invocation_ids: started.extend(invocation_ids))

    composing.compose(invocation_id=first.pk)
    composing.compose(invocation_id=second.pk)

    assert started == [second.pk]


def test_a_row_that_must_wait_does_not_keep_the_others_of_its_room(backend, bob, agent, monkeypatch):
    away = make_agent("away", bridge=make_bridge(is_online=False))
    first, second = ask(backend, bob, away), ask(backend, bob, agent)
    third = ask(backend, bob, agent)
    started = []
    monkeypatch.setattr(pipeline, "start", lambda *, invocation_ids: started.extend(invocation_ids))

    assert composing.compose(invocation_id=first.pk) is None
    composing.compose(invocation_id=second.pk)
    # The agent's one lane is taken: its next row is nobody's to start.
    assert composing.compose(invocation_id=third.pk) is None

    assert started == [second.pk]


def test_a_question_that_was_deleted_meanwhile_fails_with_a_sentence(backend, bob, agent):
    row = ask(backend, bob, agent)
    Message.objects.filter(pk=row.message_id).update(text="", deleted_at=timezone.now())

    assert composing.compose(invocation_id=row.pk) is None

    row.refresh_from_db()
    assert (row.state, row.reason) == (State.FAILED, "compose_failed")
    assert "question was deleted" in Notice.objects.get(invocation=row, kind="ended").text


def test_a_direct_chat_knows_the_askers_projects_and_no_room_facts(alice, bob, agent):
    shop = make_room("shop", members=(bob,), project=Project.objects.create(slug="shop", title="Shop"))
    Fact.objects.create(scope=f"project:{shop.project_id}", key="deploys", value="on Tuesdays")
    Fact.objects.create(scope="room:rid-shop", key="gossip", value="of the shop room")
    direct = make_room("dm", kind="dm", members=(bob,))
    RoomMember.objects.create(room=direct, agent=agent)
    Fact.objects.create(scope="dm:uid-bob:claude-alice", key="editor", value="vim")

    text = compose(ask(direct, bob, agent)).text

    assert "on Tuesdays" in text
    assert "vim" in text
    assert "gossip" not in text


@pytest.fixture(autouse=True)
def fresh_neighbours(settings):
    """Nobody serves memory here, and what an earlier test found out about neighbours is forgotten."""
    settings.NEXUS_MEM0_URL = "http://127.0.0.1:9"
