"""The demo's people at their chat: what a person does through the chat's REST API, and nothing that Nexus does."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import requests

TIMEOUT_S = 10.0


class ChatRefusedError(RuntimeError):
    """The chat said no; the text is its own."""


@dataclass(slots=True)
class Person:
    """Somebody logged in."""

    url: str
    username: str
    user_id: str
    session: requests.Session = field(repr=False)

    def get(self, path: str, **params: str) -> dict[str, Any]:
        return _read(self.session.get(f"{self.url}/api/v1/{path}", params=params, timeout=TIMEOUT_S))

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return _read(self.session.post(f"{self.url}/api/v1/{path}", json=body, timeout=TIMEOUT_S))

    def say(self, *, room_id: str, text: str) -> str:
        """Post a message; returns its id."""
        message = self.post("chat.sendMessage", message={"rid": room_id, "msg": text})["message"]
        return str(message["_id"])

    def send_file(self, *, room_id: str, name: str, content: bytes, text: str) -> str:
        """Post a file with words to it; returns the message's id."""
        path = f"{self.url}/api/v1/rooms.media/{room_id}"
        file_id = _read(self.session.post(path, files={"file": (name, content)}, timeout=TIMEOUT_S))["file"]["_id"]
        return str(self.post(f"rooms.mediaConfirm/{room_id}/{file_id}", msg=text)["message"]["_id"])

    def content_of(self, *, link: str) -> bytes:
        """What lies behind the link of an attachment."""
        return self.session.get(f"{self.url}{link}", timeout=TIMEOUT_S).content

    def text_of(self, *, message_id: str) -> str | None:
        """A message's text, None while there is no such message."""
        try:
            return str(self.get("chat.getMessage", msgId=message_id)["message"]["msg"])
        except ChatRefusedError:
            return None


def log_in(*, url: str, username: str, password: str) -> Person:
    session = requests.Session()
    answer = _read(
        session.post(f"{url}/api/v1/login", json={"user": username, "password": password}, timeout=TIMEOUT_S)
    )
    data = answer["data"]
    session.headers.update({"X-Auth-Token": data["authToken"], "X-User-Id": data["userId"]})
    return Person(url=url, username=username, user_id=data["userId"], session=session)


def make_person(*, admin: Person, username: str, name: str, password: str) -> None:
    """Create an account; one that exists already is left as it is."""
    try:
        admin.get("users.info", username=username)
    except ChatRefusedError:
        admin.post(
            "users.create",
            username=username,
            name=name,
            email=f"{username}@demo.invalid",
            password=password,
            roles=["user"],
            joinDefaultChannels=True,
            requirePasswordChange=False,
            verified=False,
        )


def make_room(*, owner: Person, name: str, members: list[str], is_private: bool) -> str:
    """Create a room with these members, or find it; returns its id."""
    kind = "groups" if is_private else "channels"
    key = "group" if is_private else "channel"
    try:
        return str(owner.get("rooms.info", roomName=name)["room"]["_id"])
    except ChatRefusedError:
        return str(owner.post(f"{kind}.create", name=name, members=members)[key]["_id"])


def demo_password(*, secret: str, username: str) -> str:
    """The same password at every start of one demo, another one in every other."""
    digest = hmac.new(secret.encode(), f"demo:{username}".encode(), hashlib.sha256).digest()
    return base64.b32encode(digest)[:12].decode().lower()


def _read(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        raise ChatRefusedError(f"{answer.url}: {answer.status_code}, not JSON") from None
    if not isinstance(body, dict) or not (body.get("success") or body.get("status") == "success"):
        error = body.get("error") if isinstance(body, dict) else None
        raise ChatRefusedError(f"{error or answer.status_code}")
    return body
