"""How does the workspace survive a restart? One JSON file, replaced as a whole."""

import os
from dataclasses import asdict
from pathlib import Path

from gateway.devchat.models import Room, Subscription, Token, User
from gateway.devchat.store import RoomLog, Store
from gateway.devchat.wire import Document, from_json, to_ddp

FORMAT = 1


class SnapshotError(Exception):
    """The file is there but cannot be read; the text names the file and the cure."""


def text_of(store: Store) -> str:
    return to_ddp(_dump(store))


def write(text: str, path: Path) -> None:
    """Atomic: a crash leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read(store: Store, path: Path) -> bool:
    """Fills an empty store; False when there is no file yet."""
    if not path.exists():
        return False
    try:
        state = from_json(path.read_bytes())
        if state["format"] != FORMAT:
            raise SnapshotError(
                f"{path} has snapshot format {state['format']}, this devchat reads {FORMAT}: move it away"
            )
        _load(store, state)
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{path} is not a devchat snapshot ({error}): move it away to start afresh") from error
    return True


def _dump(store: Store) -> Document:
    return {
        "format": FORMAT,
        "users": [asdict(user) for user in store.users.values()],
        "rooms": [asdict(room) for room in store.rooms.values()],
        "messages": [message for room_id in store.rooms for message in store.messages_of(room_id)],
        "deleted": {room_id: log.deleted for room_id, log in store.logs.items()},
        "integrations": list(store.integrations.values()),
        "files": list(store.files.values()),
        "grants": store.grants.as_lists(),
        "left": store.left,
    }


def _load(store: Store, state: Document) -> None:
    for raw in state["users"]:
        raw["tokens"] = [Token(**token) for token in raw["tokens"]]
        store.add_user(User(**raw | {"status": "offline"}))
    for raw in state["rooms"]:
        raw["members"] = {user_id: Subscription(**member) for user_id, member in raw["members"].items()}
        store.add_room(Room(**raw))
    for message in state["messages"]:
        store.messages[message["_id"]] = message
        store.logs[message["rid"]].message_ids.append(message["_id"])
    for room_id, deleted in state["deleted"].items():
        store.logs[room_id].deleted = [(time, message_id) for time, message_id in deleted]
    for message in sorted(state["messages"], key=_updated_at):
        _log_update(store.logs[message["rid"]], message)
    store.integrations = {document["_id"]: document for document in state["integrations"]}
    store.files = {document["_id"]: document for document in state["files"]}
    store.left = {user_id: [(time, gone) for time, gone in left] for user_id, left in state["left"].items()}
    for permission, roles in state["grants"].items():
        store.grants.grant(permission, roles)


def _updated_at(message: Document) -> int:
    return int(message["_updatedAt"])


def _log_update(log: RoomLog, message: Document) -> None:
    log.update_times.append(_updated_at(message))
    log.update_ids.append(message["_id"])
