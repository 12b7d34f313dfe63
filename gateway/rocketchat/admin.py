"""The chat's REST API for commands: log in as somebody, call, log out. Synchronous; the calls are those of `calls`."""

import hashlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import requests

from gateway.rocketchat import calls
from gateway.rocketchat.calls import Call, RefusedError, UnreachableError
from gateway.rocketchat.events import Document

TIMEOUT_S = 10.0


class Login:
    """One logged-in account. Use it in a `with` statement: leaving logs out, so that no login token stays behind."""

    def __init__(self, *, base_url: str, user: str, password: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        self._user = user
        self._password = password
        self.user_id = ""
        self.username = ""

    def __enter__(self) -> Self:
        data = self.call(calls.login(user=self._user, password=self._password)).get("data")
        if not isinstance(data, dict):
            raise UnreachableError("login answered without data")
        self._session.headers.update({"X-User-Id": str(data["userId"]), "X-Auth-Token": str(data["authToken"])})
        self.user_id = str(data["userId"])
        me = data.get("me")
        self.username = str(me.get("username", "")) if isinstance(me, dict) else self._user
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.user_id:
                self.call(calls.logout())
        except calls.RestError:
            # The token of a login that could not be ended expires by itself.
            return
        finally:
            self._session.close()

    def call(self, call: Call, *, headers: Mapping[str, str] | None = None) -> Document:
        """Raises RestError in one of its forms."""
        files = None
        if call.upload:
            name, content_type, data = call.upload
            files = {"file": (name, data, content_type)}
        try:
            response = self._session.request(
                call.method,
                f"{self._base_url}{call.url_path}",
                params=dict(call.params),
                json=call.body,
                files=files,
                headers={**call.headers, **(headers or {})},
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise UnreachableError(f"the chat at {self._base_url} did not answer: {type(error).__name__}") from error
        return calls.answer(status=response.status_code, headers=response.headers, content=response.content)

    def call_confirmed(self, call: Call) -> Document:
        """A call that wants a second factor: the account's password stands in where no other factor is set up."""
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        return self.call(call, headers=calls.two_factor(password_sha256=digest))

    # What create_bridge and bootstrap need

    def find_user(self, *, username: str) -> Document | None:
        try:
            user = self.call(calls.user_info(username=username)).get("user")
        except RefusedError as error:
            if error.status == 400:
                return None
            raise
        return user if isinstance(user, dict) and user.get("username") == username else None

    def create_user(self, *, username: str, name: str, email: str, password: str, roles: tuple[str, ...]) -> Document:
        call = calls.create_user(username=username, name=name, email=email, password=password, roles=roles)
        return _part(self.call(call), "user")

    def set_password(self, *, user_id: str, password: str) -> None:
        self.call_confirmed(calls.set_password(user_id=user_id, password=password))

    def delete_user(self, *, user_id: str) -> None:
        self.call(calls.delete_user(user_id=user_id))

    def personal_token(self, *, name: str) -> str:
        """A token of this account that does not expire; one of that name that was there before ends."""
        try:
            answer = self.call_confirmed(calls.personal_token(name=name))
        except RefusedError as error:
            if "error-token-already-exists" not in error.codes:
                raise
            answer = self.call_confirmed(calls.regenerate_token(name=name))
        token = answer.get("token")
        if not isinstance(token, str) or not token:
            raise UnreachableError("the chat made a token and did not tell it")
        return token

    def allow(self, *, grants: Mapping[str, tuple[str, ...]]) -> None:
        """Set which roles hold each permission; the whole list per permission."""
        self.call(calls.permissions(grants=grants))

    def find_room(self, *, name: str) -> Document | None:
        try:
            room = self.call(calls.room_named(name=name)).get("room")
        except RefusedError as error:
            if error.status in (400, 403):
                return None
            raise
        return room if isinstance(room, dict) else None

    def create_room(self, *, kind: str, name: str, members: tuple[str, ...]) -> Document:
        key = "group" if kind == "p" else "channel"
        return _part(self.call(calls.create_room(kind=kind, name=name, members=members)), key)

    def invite(self, *, rid: str, kind: str, user_id: str) -> None:
        """Into a private room only its own owners and moderators can invite."""
        self.call(calls.invite(rid=rid, kind=kind, user_id=user_id))

    def open_direct(self, *, username: str) -> Document:
        room = _part(self.call(calls.open_direct(username=username)), "room")
        if username not in calls.texts(room.get("usernames")):
            raise RefusedError(status=400, codes=frozenset({"error-invalid-user"}), text=f"no such user: {username}")
        return room


def _part(answer: Document, key: str) -> Document:
    part = answer.get(key)
    if not isinstance(part, dict):
        raise UnreachableError(f"the chat answered without `{key}`")
    return part
