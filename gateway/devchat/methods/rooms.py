"""Rooms over the socket: list, find, create, join, leave."""

from typing import Any

from gateway.devchat import rooms
from gateway.devchat.ddp import Session
from gateway.devchat.errors import ChatError, not_allowed
from gateway.devchat.methods.registry import me, method
from gateway.devchat.models import CHANNEL, PRIVATE, Room
from gateway.devchat.wire import Document, moment_from


@method("rooms/get")
def _rooms_get(session: Session, params: list[Any]) -> Any:
    store = session.host.store
    found = list(store.rooms_of(me(session)))
    return _since(params, [rooms.with_last_message(store, room) for room in found])


@method("subscriptions/get")
def _subscriptions_get(session: Session, params: list[Any]) -> Any:
    user = me(session)
    return _since(params, [room.members[user.id].document() for room in session.host.store.rooms_of(user)])


def _since(params: list[Any], documents: list[Document]) -> Any:
    since = moment_from(params[0]) if params else None
    if since is None:
        return documents
    return {"update": [document for document in documents if document["_updatedAt"] > since], "remove": []}


@method("getRoomIdByNameOrId")
def _room_id(session: Session, params: list[Any]) -> str:
    return _find_room(session, str(params[0]), "getRoomIdByNameOrId").id


@method("getRoomNameById")
def _room_name(session: Session, params: list[Any]) -> str:
    return _find_room(session, str(params[0]), "getRoomNameById").name


@method("getRoomByTypeAndName")
def _room_by_type(session: Session, params: list[Any]) -> Document:
    return _find_room(session, str(params[1]), "getRoomByTypeAndName").document()


def _find_room(session: Session, name_or_id: str, caller: str) -> Room:
    store, user = session.host.store, me(session)
    room = store.rooms.get(name_or_id) or store.room_named(name_or_id)
    if room is None or not store.can_access(user, room):
        raise not_allowed(caller)
    return room


@method("joinRoom")
def _join_room(session: Session, params: list[Any]) -> bool:
    room = session.host.store.rooms.get(str(params[0]))
    if room is None:
        raise ChatError("error-invalid-room", "Invalid room", {"method": "joinRoom"})
    rooms.join(session.host.store, room=room, user=me(session))
    return True


@method("leaveRoom")
def _leave_room(session: Session, params: list[Any]) -> None:
    rooms.leave(session.host.store, room=_find_room(session, str(params[0]), "leaveRoom"), user=me(session))


@method("createDirectMessage")
def _create_direct(session: Session, params: list[Any]) -> Document:
    store, user = session.host.store, me(session)
    others = [store.user_named(str(name)) for name in params]
    known = [other for other in others if other is not None]
    if len(known) != len(others):
        raise ChatError("error-invalid-user", "Invalid user", {"method": "createDirectMessage"})
    room = rooms.open_direct(store, creator=user, others=known)
    return room.document() | {"rid": room.id}


@method("createChannel")
def _create_channel(session: Session, params: list[Any]) -> Document:
    return _create_room(session, params, CHANNEL)


@method("createPrivateGroup")
def _create_group(session: Session, params: list[Any]) -> Document:
    return _create_room(session, params, PRIVATE)


def _create_room(session: Session, params: list[Any], kind: str) -> Document:
    store, user = session.host.store, me(session)
    if not store.may(user, f"create-{kind}"):
        raise not_allowed("createRoom")
    named = [store.user_named(str(name)) for name in (params[1] if len(params) > 1 else [])]
    members = [member for member in named if member is not None]
    room = rooms.create_room(store, kind=kind, name=str(params[0]), creator=user, members=members)
    return {"rid": room.id, "name": room.name, "t": room.t}


@method("readMessages")
def _read_messages(session: Session, params: list[Any]) -> None:
    room = _find_room(session, str(params[0]), "readMessages")
    rooms.mark_read(session.host.store, room=room, user=me(session))
