"""What has just happened that somebody outside the rules may want to hear?"""

from dataclasses import dataclass, field
from typing import Any

from gateway.devchat.models import Room, Subscription, User
from gateway.devchat.wire import Document


@dataclass(frozen=True, slots=True)
class MessageChanged:
    """A message is new or differs; streams carry the whole document."""

    room: Room
    message: Document


@dataclass(frozen=True, slots=True)
class RoomNotice:
    """An event of the stream `notify-room`; the session that caused it is not told."""

    room: Room
    name: str
    args: list[Any]
    from_session: str = ""


@dataclass(frozen=True, slots=True)
class UserNotice:
    """An event of the stream `notify-user`, for one user."""

    user_id: str
    name: str
    args: list[Any]


@dataclass(frozen=True, slots=True)
class SubscriptionChanged:
    kind: str  # inserted, updated, removed
    subscription: Subscription


@dataclass(frozen=True, slots=True)
class RoomChanged:
    kind: str
    room: Room
    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoggedNotice:
    """An event of the stream `notify-logged`, for everybody who is logged in."""

    name: str
    args: list[Any]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something an outgoing webhook can be set up for."""

    event: str
    room: Room | None
    user: User
    message: Document | None = None
    is_edit: bool = False
    extra: Document = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    """A token died (logout, deactivated user): its sockets must go."""

    user_id: str
    hashed_token: str | None


Event = (
    MessageChanged
    | RoomNotice
    | UserNotice
    | SubscriptionChanged
    | RoomChanged
    | LoggedNotice
    | Occurrence
    | SessionsEnded
)
