"""What clients may write to streams: typing, and a few events between two people."""

from typing import Any

from gateway.devchat.ddp import Session
from gateway.devchat.events import RoomNotice
from gateway.devchat.methods.registry import method
from gateway.devchat.models import DIRECT, Room

ACTIVITIES = frozenset({"user-typing", "user-recording", "user-uploading"})


@method("stream-notify-room")
def _write_room_event(session: Session, params: list[Any]) -> None:
    """What the rule does not allow is ignored, with an ordinary empty result."""
    event, *args = params
    room_id, _, name = str(event).partition("/")
    room = session.host.store.rooms.get(room_id)
    if room is None or name != "user-activity" or not _is_own_activity(session, room, args):
        return
    session.host.store.publish(RoomNotice(room, name, args, from_session=session.id))


def _is_own_activity(session: Session, room: Room, args: list[Any]) -> bool:
    user = session.user
    if user is None or not session.host.store.can_access(user, room):
        return False
    if len(args) < 2 or args[0] != user.username or not isinstance(args[1], list):
        return False
    return all(activity in ACTIVITIES for activity in args[1])


@method("stream-notify-user")
def _write_user_event(session: Session, params: list[Any]) -> None:
    event, *args = params
    user_id, _, name = str(event).partition("/")
    if (
        session.user is not None
        and name in ("otr", "webrtc", "uiInteraction")
        and _shares_direct_room(session, user_id)
    ):
        session.host.broker.emit_written("notify-user", str(event), args)


def _shares_direct_room(session: Session, user_id: str) -> bool:
    me = session.user.id if session.user else ""
    return any(room.t == DIRECT and {me, user_id} <= set(room.user_ids) for room in session.host.store.rooms.values())
