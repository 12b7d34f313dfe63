"""Where is a message in the chat? Our own short address of it, and the redirect behind that address.

The chat turns links to its own messages into whole quotes; a receipt with ten links would be a wall of them.
"""

from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, HttpResponseRedirect

from gateway.models import Message, RoomKind

_PATHS = {RoomKind.CHANNEL: "channel", RoomKind.PRIVATE: "group", RoomKind.DM: "direct"}


def to_message(*, rc_id: str, label: str) -> str:
    """A link as the chat writes it."""
    return f"[{label}]({settings.NEXUS_PUBLIC_URL.rstrip('/')}/m/{quote(rc_id)})"


def follow(_request: HttpRequest, rc_id: str) -> HttpResponse:
    """Nothing is told but the room's name, to who knows the message's id; the chat itself decides who may read it."""
    found = Message.objects.filter(rc_id=rc_id).select_related("room").first()
    if found is None:
        return HttpResponseNotFound("No such message is known here; it may have been deleted in the chat.")
    room = found.room
    place = room.rid if room.kind == RoomKind.DM else room.name or room.rid
    chat = (settings.NEXUS_CHAT_URL or settings.NEXUS_ROCKETCHAT_URL).rstrip("/")
    return HttpResponseRedirect(f"{chat}/{_PATHS[RoomKind(room.kind)]}/{quote(place, safe='')}?msg={quote(rc_id)}")
