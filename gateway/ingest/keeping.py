"""Which messages of a batch become landmarks, or stop being ones: by rule, and by the chat's own pins."""

from collections.abc import Collection, Mapping, Sequence

from composer import landmarks
from gateway.ingest.batches import Versions
from gateway.ingest.rows import Bots, Stored
from gateway.rocketchat.events import ChatMessage


def keep(
    found: Sequence[Versions],
    *,
    stored: Mapping[str, Stored],
    known: Mapping[str, tuple[int, str]],
    bots: Bots,
    programs: Collection[str],
) -> None:
    """Rules read what people say. An agent's or a program's words become a landmark by somebody's hand only."""
    there = [(one.newest, stored[one.newest.rc_id]) for one in found if one.newest.rc_id in stored]
    there = [(said, row) for said, row in there if not said.is_tombstone and not said.system_type]
    if not there:
        return
    known_before = [row.pk for _, row in there if not row.is_new]
    landmarks.follow_rules(
        said={row.pk: row.text for said, row in there if _is_by_person(said, bots=bots, programs=programs)},
        edited=known_before,
    )
    pinned = {row.pk: (known[said.rid][0], said.pinned_by) for said, row in there if said.is_pinned}
    others = [pk for pk in known_before if pk not in pinned]
    if pinned or others:
        landmarks.follow_chat_pins(pinned=pinned, others=others)


def _is_by_person(said: ChatMessage, *, bots: Bots, programs: Collection[str]) -> bool:
    return not (said.is_by_program or said.is_encrypted or said.user_id in programs or said.user_id in bots.agents)
