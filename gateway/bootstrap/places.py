"""Into which rooms do the bots come? Those that the settings name; a room that can't take them says why."""

from collections.abc import Sequence

from gateway.bootstrap.bots import Bot
from gateway.bootstrap.steps import Say, done, failed, same
from gateway.bridges.accounts import RoomThere, invitation_cure
from gateway.rocketchat.admin import Caller, Login
from gateway.rocketchat.calls import RefusedError
from gateway.rocketchat.events import Document


def ensure(admin: Login, *, name: str, bots: Sequence[Bot], tell: Say) -> None:
    """Every bot is in this room afterwards, or the room says why not."""
    plain = name.strip().removeprefix("#")
    subject = f"room {plain}"
    found = admin.find_any_room(name=plain)
    if found is None:
        text = "is not there, or the admin account can't see it; make it, or take it out of NEXUS_ROOMS"
        tell(failed(subject, text))
        return
    if reason := _unfit(found):
        tell(failed(subject, reason))
        return
    room = RoomThere(rid=str(found["_id"]), kind=str(found.get("t") or "c"), name=plain)
    missing = [bot for bot in bots if not _is_in(admin, bot, room)]
    if not missing:
        tell(same(subject, f"all {len(bots)} bots are in it"))
    for bot in missing:
        try:
            admin.invite(rid=room.rid, kind=room.kind, user_id=bot.user_id)
        except RefusedError as error:
            tell(failed(subject, invitation_cure(room, error).replace("NAME", bot.username)))
            if room.kind == "p":
                return
        else:
            tell(done(subject, f"@{bot.username} invited"))


def _unfit(room: Document) -> str:
    if room.get("encrypted") is True:
        return "is end-to-end encrypted: agents have no keys and can't read it; use a room without encryption"
    if room.get("archived") is True:
        return "is archived; bring it back, or take it out of NEXUS_ROOMS"
    if room.get("federated") is True:
        return "is federated with other servers, where Nexus does not go; use another room"
    return ""


def _is_in(admin: Login, bot: Bot, room: RoomThere) -> bool:
    with Caller(base_url=admin.base_url, user_id=bot.user_id, token=bot.token, ca_file=admin.ca_file) as caller:
        return room.rid in caller.room_ids()
