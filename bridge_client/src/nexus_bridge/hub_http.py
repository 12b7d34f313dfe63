"""Plain HTTP requests to the hub: is it up, is the bridge token good, and the files of a turn.

Only ever to the address in the configuration; redirects are not followed, answers are bounded.
"""

import http.client
import io
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any, Final

from nexus_bridge.errors import BridgeError, ConnectionFailed, CredentialsRefused
from nexus_bridge.link import connection_error, tls_context
from nexus_bridge.settings import Hub

TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """What the hub knows of this bridge token."""

    bridge: str
    owner: str
    agents: tuple[str, ...]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        return None


def check_health(*, hub: Hub) -> None:
    """Raises ConnectionFailed unless the hub is up."""
    with _answer(hub=hub, path="/healthz", token="") as answer:
        answer.read(MAX_ANSWER_BYTES)


def check_token(*, hub: Hub, token: str) -> Checked:
    """Without connecting as a bridge, which would take over from one that runs."""
    with _answer(hub=hub, path="/bridge/check", token=token) as answer:
        try:
            found = json.loads(answer.read(MAX_ANSWER_BYTES))
            return Checked(
                bridge=str(found["bridge"]),
                owner=str(found["owner"]),
                agents=tuple(str(one["slug"] if isinstance(one, dict) else one) for one in found["agents"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConnectionFailed(
                f"{hub.http_url}/bridge/check answered something else; is it your Nexus?"
            ) from error


def date_of(*, hub: Hub) -> str:
    """The hub's clock, as its Date header; empty when it has none."""
    with _answer(hub=hub, path="/healthz", token="") as answer:
        headers = getattr(answer, "headers", None)
        return str(headers["Date"] or "") if headers is not None else ""


def redeem(*, hub: Hub, code: str) -> dict[str, Any]:
    """Trade a join code, which is used up by this, for a bridge token."""
    body = io.BytesIO(json.dumps({"code": code}).encode())
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body.getvalue()))}
    with _answer(hub=hub, path="/bridge/join", token="", headers=headers, body=body) as answer:
        try:
            found = json.loads(answer.read(MAX_ANSWER_BYTES))
            if isinstance(found, dict) and {"token", "bridge", "owner", "agents"} <= found.keys():
                return found
        except ValueError:
            pass
    raise ConnectionFailed(f"{hub.http_url}/bridge/join answered something else; is it your Nexus?")


@contextmanager
def fetch(*, hub: Hub, file: str, tools_token: str) -> Iterator[IO[bytes]]:
    """A file of the running turn, as a stream."""
    with _answer(hub=hub, path=f"/bridge/files/{urllib.parse.quote(file, safe='')}", token=tools_token) as answer:
        yield answer


def send(*, hub: Hub, tools_token: str, name: str, content_type: str, size: int, file: IO[bytes]) -> str:
    """A file that the running turn made; returns its id at the hub."""
    # Header values are Latin-1; a name of other letters goes percent-encoded.
    headers = {
        "X-File-Name": urllib.parse.quote(name, safe=" ()+,.=@_-"),
        "Content-Type": content_type,
        "Content-Length": str(size),
    }
    with _answer(hub=hub, path="/bridge/files/", token=tools_token, headers=headers, body=file) as answer:
        try:
            return str(json.loads(answer.read(MAX_ANSWER_BYTES))["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConnectionFailed("the hub took a file and gave no id for it") from error


@contextmanager
def _answer(
    *,
    hub: Hub,
    path: str,
    token: str,
    headers: Mapping[str, str] = MappingProxyType({}),
    body: IO[bytes] | None = None,
) -> Iterator[IO[bytes]]:
    every = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(f"{hub.http_url}{path}", headers=every, data=body)  # noqa: S310 - http(s) by construction
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if (context := tls_context(hub)) is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    else:
        handlers.append(urllib.request.ProxyHandler({}))  # in clear, the token must not pass a proxy
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(error.code, hub=hub, path=path) from error
    except urllib.error.URLError as error:
        cause = error.reason if isinstance(error.reason, Exception) else error
        raise connection_error(cause, hub=hub) from error
    except (OSError, http.client.HTTPException) as error:
        raise connection_error(error, hub=hub) from error


class FileNotTaken(BridgeError):
    """The hub takes this file not; the turn ends without it and says so."""


_NOT_TAKEN: Final = {409: "the hub takes no more files of this run", 413: "it is too large for the hub"}


def _refused(status: int, *, hub: Hub, path: str) -> BridgeError:
    if path == "/bridge/join" and status in {401, 403, 429}:
        return CredentialsRefused(
            f"{hub.url} refuses this join link (HTTP {status}): it is unknown, used or too old; ask for a new one"
        )
    if status in _NOT_TAKEN:
        return FileNotTaken(_NOT_TAKEN[status])
    if status in {401, 403}:
        return CredentialsRefused(
            f"{hub.url} refuses this bridge token (HTTP {status}): it is unknown, revoked or expired; "
            "get a new one from whoever runs your Nexus"
        )
    return ConnectionFailed(f"{hub.http_url}{path} answered HTTP {status}; is it your Nexus, and is it up?")
