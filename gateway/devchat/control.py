"""The door for tests, clearly not Rocket.Chat: faults, switches, state. Only for programs on this machine."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.devchat.faults import FIELDS
from gateway.devchat.wire import Document, from_json, to_rest
from gateway.devchat.workspace import Workspace

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", "[::1]", "testserver"})
Endpoint = Callable[[Request], Awaitable[Response]]


def answer(document: Document, status: int = 200) -> Response:
    return Response(to_rest(document), status, media_type="application/json")


def routes(workspace: Workspace) -> list[Route]:
    control = _Control(workspace)
    return [
        Route("/devchat/faults", _guarded(control.faults), methods=["GET", "POST", "DELETE"]),
        Route("/devchat/restart_sockets", _guarded(control.restart_sockets), methods=["POST"]),
        Route("/devchat/switches", _guarded(control.switches), methods=["GET", "POST"]),
        Route("/devchat/state", _guarded(control.state), methods=["GET"]),
        Route("/devchat/reset", _guarded(control.reset), methods=["POST"]),
        Route("/devchat/snapshot", _guarded(control.save), methods=["POST"]),
    ]


def _guarded(endpoint: Endpoint) -> Endpoint:
    async def guarded(request: Request) -> Response:
        # A browser sends Origin with every such request; no page of any site has business here.
        if not _is_local(request) or "origin" in request.headers:
            return answer({"error": "the control door opens only for programs on this machine"}, 403)
        try:
            return await endpoint(request)
        except (ValueError, TypeError) as error:
            return answer({"error": str(error)}, 400)

    return guarded


def _is_local(request: Request) -> bool:
    client = request.client.host if request.client else ""
    try:
        is_loopback = ipaddress.ip_address(client).is_loopback
    except ValueError:
        is_loopback = client == "testclient"
    return is_loopback and (request.url.hostname or "") in LOCAL_HOSTS


class _Control:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def faults(self, request: Request) -> Response:
        faults = self._workspace.faults
        if request.method == "DELETE":
            faults.clear()
            for session in self._workspace.broker.sessions:
                session.revive()
        elif request.method == "POST":
            raw = from_json(await request.body())
            for rule in raw if isinstance(raw, list) else [raw]:
                self._add(rule)
        return answer({"faults": faults.documents()})

    def _add(self, rule: Any) -> None:
        if not isinstance(rule, dict):
            raise TypeError(f"a rule is an object with the fields {', '.join(sorted(FIELDS))}")
        if rule.get("action") != "zombie":
            self._workspace.faults.add(rule)
            return
        wanted = (rule.get("match") or {}).get("user", "*")
        for session in self._workspace.broker.sessions:
            if wanted == "*" or (session.user is not None and session.user.username == wanted):
                session.become_zombie()

    async def restart_sockets(self, request: Request) -> Response:
        """Cuts every socket, or those of `user`; with `code` they are closed politely instead."""
        raw = await request.body()
        options = from_json(raw) if raw else {}
        cut = 0
        for session in list(self._workspace.broker.sessions):
            if "user" in options and (session.user is None or session.user.username != options["user"]):
                continue
            cut += 1
            if "code" in options:
                session.close(int(options["code"]), "restart")
            else:
                session.abort()
        return answer({"cut": cut})

    async def switches(self, request: Request) -> Response:
        switches = self._workspace.store.switches
        if request.method == "POST":
            switches.change(from_json(await request.body()))
            self._workspace.windows.clear()
        return answer(switches.document())

    async def reset(self, request: Request) -> Response:
        self._workspace.reset()
        return answer({"reset": True})

    async def save(self, request: Request) -> Response:
        self._workspace.save()
        return answer({"saved": True})

    async def state(self, request: Request) -> Response:
        """Everything a test wants to compare; `?room=` limits the messages, `?messages=0` leaves them out."""
        store, wanted = self._workspace.store, request.query_params.get("room")
        shows = request.query_params.get("messages") != "0"
        room_ids = [room.id for room in store.rooms.values() if wanted in (None, room.id, room.name)]
        return answer(
            {
                "users": [user.full() for user in store.users.values()],
                "rooms": [
                    room.document() | {"members": sorted(member.username for member in room.members.values())}
                    for room in store.rooms.values()
                ],
                "messages": [message for room_id in room_ids for message in store.messages_of(room_id)]
                if shows
                else [],
                "deleted": [message_id for room_id in room_ids for _, message_id in store.logs[room_id].deleted],
                "integrations": list(store.integrations.values()),
                "sessions": [
                    {"id": session.id, "user": session.user.username if session.user else None}
                    for session in self._workspace.broker.sessions
                ],
                "subscriptions": self._workspace.broker.subscription_counts(),
                "switches": store.switches.document(),
                "refused_by_limits": self._workspace.windows.refused,
                "faults": self._workspace.faults.documents(),
            }
        )
