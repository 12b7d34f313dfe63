"""Does the hub keep secrets from the room that a bridge let through?"""

import pytest
from django.conf import settings

from gateway import redaction
from gateway.models import Approval, State
from nexus_bridge import events
from nexus_bridge.masking import MASK, MAX_SEEN
from nexus_bridge.protocol import Chunk, Chunks, End, output_digest
from runtime import chunks
from runtime.reply import Ending, Reply, Spent
from tests.server.hub_world import World

GITHUB = "ghp_" + "a1B2c3" * 6
DONE = Ending("done", Spent())


def reply() -> Reply:
    return Reply(secrets=redaction.secrets())


def test_the_hubs_own_secrets_and_tokens_of_others_are_masked(settings):
    settings.NEXUS_ADMIN_TOKEN = "an-admin-token-of-this-hub-0123456789"

    shown = redaction.masked(
        f"{settings.NEXUS_ADMIN_TOKEN} {settings.SECRET_KEY} {GITHUB} {settings.NEXUS_PUBLIC_URL}"
    )

    assert shown == f"{MASK} {MASK} {MASK} {settings.NEXUS_PUBLIC_URL}"


@pytest.mark.parametrize("secret", [GITHUB, settings.NEXUS_FIELD_KEY], ids=["token", "known"])
def test_a_secret_split_over_two_chunks_never_shows_but_for_a_few_first_signs(secret):
    for cut in range(1, len(secret)):
        said = reply()
        said.feed(events.Text(delta=f"It is {secret[:cut]}"))
        (early,) = said.live(elapsed_s=0)
        said.feed(events.Text(delta=f"{secret[cut:]} I think."))
        (late,) = said.live(elapsed_s=0)
        (final,) = said.final(ending=DONE)

        assert early.split("\n")[0] == (f"It is {secret[:cut]}" if cut <= MAX_SEEN else "It is")
        assert late.startswith(f"It is {MASK} I think.")
        assert final == f"It is {MASK} I think."
        assert said.whole == final


def test_what_only_begins_like_a_secret_is_said_in_its_place():
    said = reply()

    said.feed(events.Text(delta="Look at the files", message="one"))
    said.feed(events.ToolCall(id="t", name="Bash", title="ls"))
    said.feed(events.Text(delta="There is nothing in the pages", message="two"))

    assert said.final(ending=DONE)[0].startswith("Look at the files\n\nThere is nothing in the pages\n\n")


def test_tools_and_notices_of_a_live_card_are_masked():
    said = reply()

    said.feed(events.ToolCall(id="t", name="Bash", title=f"curl -H {GITHUB}"))
    said.feed(events.Notice(level="warning", text=f"refused: {GITHUB}"))

    (card,) = said.live(elapsed_s=0)
    assert GITHUB not in card
    assert MASK in card


@pytest.mark.django_db(transaction=True)
def test_questions_and_the_reason_of_an_end_are_masked():
    world = World()
    type(world.bridge).objects.update(session="s", lease_until="2999-01-01T00:00Z", journal="0" * 32)
    pk = world.ask()
    row = world.row(pk)
    asked = events.encode(events.Permission(id="p", name="Bash", detail=f"export KEY={GITHUB}"))
    frames: list[chunks.FromRun] = [
        Chunks(invocation=pk, fence=row.fence, chunks=[Chunk(seq=1, kind="permission", payload=asked)]),
        End(
            invocation=pk,
            fence=row.fence,
            seq=2,
            outcome="failed",
            sha256=output_digest([asked]),
            reason="cli",
            message=f"401 for {GITHUB}",
        ),
    ]

    for frame in frames:
        chunks.store(arrivals=[chunks.Arrival(bridge_id=world.bridge.pk, session="s", frame=frame)])

    assert Approval.objects.get().detail == f"export KEY={MASK}"
    assert world.row(pk).state == State.FAILED
    assert world.row(pk).detail == f"401 for {MASK}"
