"""How does each REST call look, and what does its answer mean? Builders and one reader; no socket, no clock."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from gateway.rocketchat.events import BadDocumentError, Document, read_json

MAX_WAIT_S = 300.0
DEFAULT_WAIT_S = 60.0
PERMISSION_CODES = frozenset({"error-unauthorized", "unauthorized", "forbidden", "error-not-authorized"})
_TRAILING_CODE = re.compile(r"\[([A-Za-z0-9_.\-]+)\]\s*$")
_WAIT_TEXT = re.compile(r"wait (\d+) seconds")


class RestError(Exception):
    """A call that did not succeed."""


class UnreachableError(RestError):
    """No usable answer: refused connection, timeout, 5xx, something that is not JSON. Whether it was done is unknown."""


class UnauthorizedError(RestError):
    """The account's token is refused; a new one is needed."""


class RateLimitedError(RestError):
    def __init__(self, *, wait_s: float) -> None:
        super().__init__(f"too many requests, again in {wait_s:.0f} s")
        self.wait_s = wait_s


class RefusedError(RestError):
    """The chat said no. `codes` is every error code the answer holds."""

    def __init__(self, *, status: int, codes: frozenset[str], text: str, details: Document | None = None) -> None:
        super().__init__(f"{status}: {text or 'refused'}")
        self.status = status
        self.codes = codes
        self.details = details or {}


@dataclass(frozen=True, slots=True)
class Call:
    """One request below /api/v1/. `upload` is (file name, content type, bytes), sent as the form's `upload_field`."""

    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    body: Document | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    upload: tuple[str, str, bytes] | None = None
    upload_field: str = "file"

    @property
    def route(self) -> str:
        """What the chat's limiter counts by."""
        return f"{self.method} {self.path.partition('/')[0]}"

    @property
    def url_path(self) -> str:
        return self.path if self.path.startswith("/") else f"/api/v1/{self.path}"


def answer(*, status: int, headers: Mapping[str, str], content: bytes) -> Document:
    """The answer's document, or the error it stands for."""
    if status >= 500:
        raise UnreachableError(f"the chat answered {status}")
    try:
        document = read_json(content)
    except BadDocumentError:
        document = None
    if status == 429:
        raise RateLimitedError(wait_s=_wait(headers, document))
    if not isinstance(document, dict):
        raise UnreachableError(f"the chat answered {status} with something that is not JSON")
    is_success = document.get("success") is True or document.get("status") == "success"
    if 200 <= status < 300 and is_success:
        return document
    raise _refusal(status, document)


def _refusal(status: int, document: Document) -> RestError:
    codes = error_codes(document)
    text = str(document.get("error") or document.get("message") or "")[:300]
    if "error-too-many-requests" in codes or "too-many-requests" in codes:
        return RateLimitedError(wait_s=_wait({}, document))
    # From version 9 on a missing permission is 401 as well; what a refused token says there carries no code.
    is_permission = bool(codes & PERMISSION_CODES) and not text.startswith("You must be logged in")
    if status == 401 and not is_permission and "totp-required" not in codes:
        return UnauthorizedError(text or "not logged in")
    details = document.get("details")
    return RefusedError(status=status, codes=codes, text=text, details=details if isinstance(details, dict) else None)


def error_codes(document: Document) -> frozenset[str]:
    """From `errorType`, an `error` without blanks, and a trailing `[code]`."""
    codes = set()
    kind, text = document.get("errorType"), document.get("error")
    if isinstance(kind, str) and kind:
        codes.add(kind)
    if isinstance(text, str) and text:
        if " " not in text:
            codes.add(text)
        elif found := _TRAILING_CODE.search(text):
            codes.add(found.group(1))
    return frozenset(codes)


def _wait(headers: Mapping[str, str], document: object) -> float:
    """Seconds until the limit ends; the reset header is an absolute time, read against the answer's own clock."""
    wait = _header_wait({key.lower(): value for key, value in headers.items()})
    if wait is None and isinstance(document, dict):
        found = _WAIT_TEXT.search(str(document.get("error", "")))
        wait = float(found.group(1)) if found else None
    return min(max(wait if wait is not None else DEFAULT_WAIT_S, 0.05), MAX_WAIT_S)


def _header_wait(headers: Mapping[str, str]) -> float | None:
    try:
        if "retry-after" in headers:
            return float(headers["retry-after"])
        reset_s = float(headers["x-ratelimit-reset"]) / 1000
        return reset_s - parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


# The account itself


def me() -> Call:
    return Call("GET", "me")


def subscriptions() -> Call:
    return Call("GET", "subscriptions.get")


def rooms() -> Call:
    return Call("GET", "rooms.get")


# Rooms

_FAMILY = {"c": "channels", "p": "groups", "d": "im"}


def family(kind: str) -> str:
    """The name of the calls for this kind of room."""
    return _FAMILY.get(kind, "channels")


def room_info(*, rid: str) -> Call:
    return Call("GET", "rooms.info", {"roomId": rid})


def members(*, rid: str, kind: str, offset: int, count: int = 100) -> Call:
    return Call("GET", f"{family(kind)}.members", {"roomId": rid, "offset": offset, "count": count})


def roles(*, rid: str, kind: str) -> Call:
    return Call("GET", f"{family(kind)}.roles", {"roomId": rid})


def changed(*, rid: str, after_ms: int, count: int) -> Call:
    """Messages changed later than `after_ms`, oldest change first, one page."""
    params: dict[str, str | int] = {"roomId": rid, "type": "UPDATED", "next": str(after_ms), "count": count}
    return Call("GET", "chat.syncMessages", params)


def deleted(*, rid: str, after_ms: int, count: int) -> Call:
    params: dict[str, str | int] = {"roomId": rid, "type": "DELETED", "next": str(after_ms), "count": count}
    return Call("GET", "chat.syncMessages", params)


def changed_since(*, rid: str, since: str) -> Call:
    return Call("GET", "chat.syncMessages", {"roomId": rid, "lastUpdate": since})


def history(*, rid: str, kind: str, latest: str, count: int) -> Call:
    """What was said before `latest` (ISO), newest first."""
    params: dict[str, str | int] = {"roomId": rid, "latest": latest, "count": count, "showThreadMessages": "true"}
    return Call("GET", f"{family(kind)}.history", params)


def open_direct(*, username: str) -> Call:
    return Call("POST", "im.create", body={"username": username})


def direct_room(document: Document, *, username: str) -> Document:
    """The room that `open_direct` answers with. Older servers answer an unknown name with the caller's own room."""
    room = document.get("room")
    if not isinstance(room, dict) or username not in texts(room.get("usernames")):
        raise RefusedError(status=400, codes=frozenset({"error-invalid-user"}), text=f"no such user: {username}")
    return room


def read(*, rid: str) -> Call:
    return Call("POST", "subscriptions.read", body={"rid": rid})


# Messages


def send(*, rid: str, rc_id: str, text: str, thread: str = "", attachments: tuple[Document, ...] = ()) -> Call:
    message: Document = {"_id": rc_id, "rid": rid, "msg": text}
    if thread:
        message["tmid"] = thread
    if attachments:
        message["attachments"] = list(attachments)
    # No link of ours is fetched and shown: what an agent writes must not make the chat's server call anybody.
    return Call("POST", "chat.sendMessage", body={"message": message, "previewUrls": []})


def update(*, rid: str, rc_id: str, text: str) -> Call:
    body = {"roomId": rid, "msgId": rc_id, "text": text, "previewUrls": []}
    return Call("POST", "chat.update", body=body)


def delete(*, rid: str, rc_id: str) -> Call:
    return Call("POST", "chat.delete", body={"roomId": rid, "msgId": rc_id})


def get(*, rc_id: str) -> Call:
    return Call("GET", "chat.getMessage", {"msgId": rc_id})


def react(*, rc_id: str, emoji: str, is_on: bool) -> Call:
    return Call("POST", "chat.react", body={"messageId": rc_id, "emoji": emoji, "shouldReact": is_on})


def upload(*, rid: str, name: str, content_type: str, data: bytes) -> Call:
    return Call("POST", f"rooms.media/{quote(rid, safe='')}", upload=(name, content_type, data))


def download(*, file_id: str, name: str) -> str:
    """The path of a file's content; not a call of the API."""
    return f"/file-upload/{quote(file_id, safe='')}/{quote(name, safe='')}"


def confirm_upload(*, rid: str, file_id: str, text: str, thread: str) -> Call:
    body = {"msg": text} | ({"tmid": thread} if thread else {})
    return Call("POST", f"rooms.mediaConfirm/{quote(rid, safe='')}/{quote(file_id, safe='')}", body=body)


def texts(value: Any) -> list[Any]:
    """A list out of an answer; anything else is an empty one."""
    return value if isinstance(value, list) else []
