"""`python -m gateway.devchat`: starts the stand-in for Rocket.Chat."""

import argparse
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path

import uvicorn

from gateway.devchat.app import create_app
from gateway.devchat.snapshot import SnapshotError
from gateway.devchat.switches import Switches
from gateway.devchat.workspace import Admin, Workspace


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    listener = _listen(options.host, options.port)
    if listener is None:
        sys.stderr.write(f"Port {options.port} on {options.host} is taken; choose another with --port.\n")
        return 2
    port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="devchat-") as scratch:
        try:
            workspace = _workspace(options, port, Path(scratch))
        except SnapshotError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        if options.port_file:
            options.port_file.write_text(f"{port}\n")
        _warn_when_open(options.host)
        sys.stderr.write(f"devchat, a stand-in for Rocket.Chat, at http://{options.host}:{port}\n")
        _serve(workspace, listener)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.devchat",
        description="A stand-in for Rocket.Chat, for trying Nexus and for its tests. It is not Rocket.Chat.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=3000, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="write the port there once listening")
    parser.add_argument("--snapshot", type=Path, help="keep rooms, users and messages in this file")
    parser.add_argument("--no-limits", action="store_true", help="switch the rate limiters off")
    parser.add_argument("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    return parser.parse_args(arguments)


def _listen(host: str, port: int) -> socket.socket | None:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        return None
    return listener


def _workspace(options: argparse.Namespace, port: int, scratch: Path) -> Workspace:
    switches = Switches(
        site_url=os.environ.get("ROOT_URL", f"http://{options.host}:{port}").rstrip("/"),
        limits_enabled=not options.no_limits,
        create_tokens_secret=os.environ.get("CREATE_TOKENS_FOR_USERS_SECRET", ""),
    )
    folder = options.snapshot.with_name(options.snapshot.name + ".files") if options.snapshot else scratch
    return Workspace(folder=folder, switches=switches, admin=_admin(), snapshot_path=options.snapshot)


def _admin() -> Admin:
    password = os.environ.get("ADMIN_PASS")
    username = os.environ.get("ADMIN_USERNAME", "admin")
    if not password:
        password = secrets.token_urlsafe(12)
        sys.stderr.write(f"No ADMIN_PASS given. Unless the snapshot has an admin, log in as {username} / {password}\n")
    return Admin(
        username=username,
        password=password,
        email=os.environ.get("ADMIN_EMAIL", ""),
        name=os.environ.get("ADMIN_NAME", ""),
        is_verified=os.environ.get("ADMIN_EMAIL_VERIFIED") == "true",
    )


def _warn_when_open(host: str) -> None:
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback:
        sys.stderr.write(
            f"Listening on {host}: everybody who reaches this address can knock. devchat is not hardened.\n"
        )


def _serve(workspace: Workspace, listener: socket.socket) -> None:
    config = uvicorn.Config(
        create_app(workspace),
        ws="websockets-sansio",
        # Frames are small and stay on this machine: compressing them costs more than it saves.
        ws_per_message_deflate=False,
        ws_max_size=1024 * 1024,
        # Conversations ping by DDP, as Rocket.Chat's do.
        ws_ping_interval=None,
        # Clients keep connections; one that is closed while a request is on its way looks like a fault nobody scripted.
        timeout_keep_alive=75,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
        lifespan="on",
    )
    # uvicorn ends at a signal and then raises it again; by that time all is saved, and cleaning up is still to come.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
