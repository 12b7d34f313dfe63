"""Which streams are there, and who may listen to which event?"""

from gateway.devchat.errors import ChatError
from gateway.devchat.models import CHANNEL, User
from gateway.devchat.store import Store
from gateway.devchat.streams import MY_MESSAGES

# Publications of Meteor itself and of the web client: accepted, nothing is sent.
PUBLICATIONS = frozenset(
    {"meteor.loginServiceConfiguration", "meteor_autoupdate_clientVersions", "userData", "activeUsers", "roles"}
)
LOGGED_IN_STREAMS = frozenset({"notify-logged", "user-presence", "roles", "integrationHistory", "importers", "stdout"})
OPEN_STREAMS = frozenset({"notify-all"})


def is_publication(name: str) -> bool:
    return name in PUBLICATIONS


def check_read(store: Store, *, stream: str, event: str, user: User | None) -> None:
    """Raises not-allowed, or 404 for a stream nobody knows."""
    if stream in OPEN_STREAMS:
        return
    if stream not in LOGGED_IN_STREAMS and stream not in ("room-messages", "notify-room", "notify-user"):
        raise ChatError("404", f"Subscription '{stream}' not found")
    if event == MY_MESSAGES and not store.switches.has_my_messages:
        raise ChatError("not-allowed", "")
    if user is None or not _may_read(store, stream, event, user):
        raise ChatError("not-allowed", "")


def _may_read(store: Store, stream: str, event: str, user: User) -> bool:
    if stream in LOGGED_IN_STREAMS or event == MY_MESSAGES:
        return True
    subject = event.split("/", 1)[0]
    if stream == "notify-user":
        return subject == user.id
    room = store.rooms.get(subject)
    if room is None:
        return False
    if stream == "notify-room":
        return store.can_access(user, room)
    return user.id in room.members or (room.t == CHANNEL and store.may(user, "preview-c-room"))
