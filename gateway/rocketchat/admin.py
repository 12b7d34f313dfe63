"""The chat's REST API for commands: log in as somebody, call, log out. Synchronous; the calls are those of `calls`."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

import requests

from gateway.rocketchat import admin_calls, calls, tls
from gateway.rocketchat.calls import Call, RateLimitedError, RefusedError, UnreachableError
from gateway.rocketchat.events import Document

logger = logging.getLogger(__name__)

TIMEOUT_S = 10.0


class Patience:
    """How long, in sum, a program waits until the chat's limits let it go on."""

    def __init__(self, *, limit_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._left_s = limit_s
        self._sleep = sleep

    def wait(self, error: RateLimitedError) -> None:
        """Raises `error` where that would take too long."""
        if error.wait_s > self._left_s:
            raise error
        self._left_s -= error.wait_s
        logger.info("the chat limits calls, waiting", extra={"wait_s": error.wait_s})
        self._sleep(error.wait_s)


IMPATIENT: Final = Patience(limit_s=0.0)


class Caller:
    """One account by its access token; without one, nobody in particular."""

    def __init__(
        self,
        *,
        base_url: str,
        user_id: str = "",
        token: str = "",
        patience: Patience = IMPATIENT,
        ca_file: str = "",
    ) -> None:
        self.ca_file = ca_file
        self.base_url = base_url.rstrip("/")
        self.patience = patience
        self.user_id = user_id
        self._session = requests.Session()
        self._session.trust_env = False
        if ca_file:
            self._session.verify = ca_file
        if token:
            self._session.headers.update({"X-User-Id": user_id, "X-Auth-Token": token})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def call(self, call: Call, *, headers: Mapping[str, str] | None = None) -> Document:
        """Raises RestError in one of its forms."""
        while True:
            try:
                return self._call_once(call, headers or {})
            except RateLimitedError as error:
                self.patience.wait(error)

    def _call_once(self, call: Call, headers: Mapping[str, str]) -> Document:
        files = None
        if call.upload:
            name, content_type, data = call.upload
            files = {call.upload_field: (name, data, content_type)}
        try:
            response = self._session.request(
                call.method,
                f"{self.base_url}{call.url_path}",
                params=dict(call.params),
                json=call.body,
                files=files,
                headers={**call.headers, **headers},
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            reason = tls.why(error) or type(error).__name__
            raise UnreachableError(f"the chat at {self.base_url} did not answer: {reason}") from error
        return calls.answer(status=response.status_code, headers=response.headers, content=response.content)

    # What anybody may do

    def version(self) -> str:
        return str(self.call(admin_calls.info()).get("version") or "")

    def me(self) -> Document:
        return self.call(calls.me())

    def room_ids(self) -> set[str]:
        """The rooms this account is in."""
        found = calls.texts(self.call(calls.subscriptions()).get("update"))
        return {str(one.get("rid")) for one in found if isinstance(one, dict)}

    def set_avatar(self, *, image: bytes) -> None:
        self.call(admin_calls.set_avatar(image=image))

    def set_status_text(self, *, text: str) -> None:
        self.call(admin_calls.set_status_text(text=text))

    def open_direct(self, *, username: str) -> Document:
        return calls.direct_room(self.call(calls.open_direct(username=username)), username=username)


class Login(Caller):
    """One logged-in account. Use it in a `with` statement: leaving logs out, so that no login token stays behind.

    `code` is a second factor's, of an app or a mail, where the account has one.
    """

    def __init__(
        self,
        *,
        base_url: str,
        user: str,
        password: str,
        code: str = "",
        patience: Patience = IMPATIENT,
        ca_file: str = "",
    ) -> None:
        super().__init__(base_url=base_url, patience=patience, ca_file=ca_file)
        self._user = user
        self._password = password
        self._code = code
        self.username = ""
        self.roles: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        data = self.call(admin_calls.login(user=self._user, password=self._password, code=self._code)).get("data")
        if not isinstance(data, dict):
            raise UnreachableError("login answered without data")
        self._session.headers.update({"X-User-Id": str(data["userId"]), "X-Auth-Token": str(data["authToken"])})
        self.user_id = str(data["userId"])
        me = data.get("me")
        document = me if isinstance(me, dict) else {}
        self.username = str(document.get("username") or self._user)
        self.roles = tuple(str(role) for role in calls.texts(document.get("roles")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.user_id:
                self.call(admin_calls.logout())
        except calls.RestError:
            # The token of a login that could not be ended expires by itself.
            return
        finally:
            self._session.close()

    def call_confirmed(self, call: Call) -> Document:
        """A call that wants a second factor: the account's password stands in where no other factor is set up."""
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        try:
            return self.call(call, headers=admin_calls.two_factor(method="password", code=digest))
        except RefusedError as error:
            method = error.details.get("method")
            if "totp-required" not in error.codes or not self._code or method not in ("totp", "email"):
                raise
            return self.call(call, headers=admin_calls.two_factor(method=method, code=self._code))

    # What create_bridge and bootstrap need

    def find_user(self, *, username: str) -> Document | None:
        try:
            user = self.call(admin_calls.user_info(username=username)).get("user")
        except RefusedError as error:
            if error.status == 400:
                return None
            raise
        return user if isinstance(user, dict) and user.get("username") == username else None

    def create_user(self, *, username: str, name: str, email: str, password: str, roles: tuple[str, ...]) -> Document:
        call = admin_calls.create_user(username=username, name=name, email=email, password=password, roles=roles)
        return _part(self.call(call), "user")

    def set_password(self, *, user_id: str, password: str) -> None:
        self.call_confirmed(admin_calls.set_password(user_id=user_id, password=password))

    def delete_user(self, *, user_id: str) -> None:
        self.call(admin_calls.delete_user(user_id=user_id))

    def personal_token(self, *, name: str) -> str:
        """A token of this account that does not expire; one of that name that was there before ends."""
        try:
            answer = self.call_confirmed(admin_calls.personal_token(name=name))
        except RefusedError as error:
            if "error-token-already-exists" not in error.codes:
                raise
            answer = self.call_confirmed(admin_calls.regenerate_token(name=name))
        token = answer.get("token")
        if not isinstance(token, str) or not token:
            raise UnreachableError("the chat made a token and did not tell it")
        return token

    def grants(self) -> dict[str, set[str]]:
        """Which roles hold each permission."""
        found = calls.texts(self.call(admin_calls.list_permissions()).get("update"))
        return {
            str(one.get("_id")): {str(role) for role in calls.texts(one.get("roles"))}
            for one in found
            if isinstance(one, dict)
        }

    def settings(self, *, names: tuple[str, ...]) -> dict[str, object]:
        found = calls.texts(self.call(admin_calls.public_settings(names=names)).get("settings"))
        return {str(one.get("_id")): one.get("value") for one in found if isinstance(one, dict)}

    def webhooks(self) -> list[Document]:
        """The outgoing ones."""
        found: list[Document] = []
        while True:
            answer = self.call(admin_calls.integrations(offset=len(found)))
            page = [one for one in calls.texts(answer.get("integrations")) if isinstance(one, dict)]
            found += page
            total = answer.get("total")
            if not page or not isinstance(total, int) or len(found) >= total:
                return [one for one in found if one.get("type") == "webhook-outgoing"]

    def create_webhook(self, *, name: str, url: str, token: str, username: str) -> None:
        self.call(admin_calls.create_webhook(name=name, url=url, token=token, username=username))

    def remove_webhook(self, *, integration_id: str) -> None:
        self.call(admin_calls.remove_webhook(integration_id=integration_id))

    def allow(self, *, grants: Mapping[str, tuple[str, ...]]) -> None:
        """Set which roles hold each permission; the whole list per permission."""
        self.call(admin_calls.permissions(grants=grants))

    def find_room(self, *, name: str) -> Document | None:
        try:
            room = self.call(admin_calls.room_named(name=name)).get("room")
        except RefusedError as error:
            if error.status in (400, 403):
                return None
            raise
        return room if isinstance(room, dict) else None

    def find_any_room(self, *, name: str) -> Document | None:
        """Also a private one that this account is not in, where it may administrate rooms."""
        found = self.find_room(name=name)
        if found is not None:
            return found
        try:
            rooms = calls.texts(self.call(admin_calls.any_room(name=name)).get("rooms"))
        except RefusedError:
            return None
        return next((room for room in rooms if isinstance(room, dict) and room.get("name") == name), None)

    def create_room(self, *, kind: str, name: str, members: tuple[str, ...]) -> Document:
        key = "group" if kind == "p" else "channel"
        return _part(self.call(admin_calls.create_room(kind=kind, name=name, members=members)), key)

    def invite(self, *, rid: str, kind: str, user_id: str) -> None:
        """Into a private room only its own owners and moderators can invite."""
        self.call(admin_calls.invite(rid=rid, kind=kind, user_id=user_id))


def _part(answer: Document, key: str) -> Document:
    part = answer.get(key)
    if not isinstance(part, dict):
        raise UnreachableError(f"the chat answered without `{key}`")
    return part
