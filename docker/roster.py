"""Which services is Nexus made of, and with which arguments does Python run each, embedded and in containers alike?"""

from collections.abc import Mapping
from typing import Final

SERVICES: Final = ("gateway", "chat", "composer", "runtime", "sweep", "mem0-api")
"""What runs in containers on a team's host; runtime_host and bridges run outside."""

_APPLICATIONS: Final = {
    "gateway": "nexus_project.asgi:application",
    "mem0-api": "composer.memory.service:application",
}
_WORKERS: Final = ("composer", "runtime")
_COMMANDS: Final = ("chat", "sweep", "runtime_host")


def arguments(name: str, *, env: Mapping[str, str], host: str = "127.0.0.1", port: int = 0) -> tuple[str, ...]:
    """What stands after `python`, in the checkout's directory; host and port for those that listen."""
    if name in _APPLICATIONS:
        return _asgi_server(_APPLICATIONS[name], host=host, port=port, env=env)
    if name in _WORKERS:
        return ("manage.py", "worker", name)
    if name == "devchat":
        return ("-m", "gateway.devchat", "--host", host, "--port", str(port))
    if name in _COMMANDS:
        return ("manage.py", name)
    raise KeyError(name)


def _asgi_server(application: str, *, host: str, port: int, env: Mapping[str, str]) -> tuple[str, ...]:
    """NEXUS_ASGI_SERVER chooses."""
    if env.get("NEXUS_ASGI_SERVER", "daphne") == "daphne":
        return ("-m", "daphne", "-v", "0", "-b", host, "-p", str(port), application)
    quiet = ("--no-access-log", "--log-level", "warning", "--lifespan", "off")
    where = ("--host", host, "--port", str(port), "--ws", "websockets-sansio", "--ws-max-size", "65536")
    return ("-m", "uvicorn", application, *where, *quiet)
