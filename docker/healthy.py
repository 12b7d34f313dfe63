"""The container's health check: `python -m docker.healthy NAME` ends with 0 when that program does its work.

For those that listen: their own answer. For a worker: it waits at its queue. For the rest: they talk to the database.
"""

import http.client
import os
import sys
from collections.abc import Sequence
from typing import Final

from docker.start import PORTS

PATHS: Final = {"gateway": "/healthz", "mem0-api": "/healthz", "devchat": "/api/info"}
WORKERS: Final = ("composer", "runtime")
LOOPS: Final = ("chat", "sweep")
_LIMIT_S: Final = 4
_RECENT_S: Final = 60
_SILENT: Final = """
    SELECT count(*) = 0 FROM pg_stat_activity WHERE client_addr = inet_client_addr()
    AND pid <> pg_backend_pid() AND datname = current_database() AND state_change > now() - make_interval(secs => %s)
"""


class SickError(Exception):
    """The text says what is wrong; it stands in `docker inspect`."""


def check(name: str) -> None:
    """Raises SickError."""
    if name in PATHS:
        _answers(port=PORTS[name], path=PATHS[name])
    elif name in WORKERS:
        _waits_at_queue()
    elif name in LOOPS:
        _talks_to_database()
    else:
        raise SickError(f"there is no program {name!r}")


def _answers(*, port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise SickError(f"answers {answer.status}: {answer.read(1_000).decode(errors='replace')}")
    except (OSError, http.client.HTTPException) as error:
        raise SickError(f"does not answer at {path}: {error}") from error
    finally:
        connection.close()


def _waits_at_queue() -> None:
    """A worker that only looks alive has no connection that asks for tasks."""
    import redis

    try:
        with redis.Redis.from_url(
            f"{os.environ['NEXUS_REDIS_URL']}/1", socket_timeout=_LIMIT_S, socket_connect_timeout=_LIMIT_S
        ) as client:
            clients = client.client_list()
            own = client.client_info()
    except redis.RedisError as error:
        raise SickError(f"Redis does not answer: {error}") from error
    ours = [one for one in clients if _host(one) == _host(own) and one["db"] == "1" and one["id"] != str(own["id"])]
    if not any(one["cmd"] == "brpop" or int(one["idle"]) < _RECENT_S for one in ours):
        raise SickError("no worker of this container asks for tasks")


def _host(client: dict[str, str]) -> str:
    return client["addr"].rpartition(":")[0]


def _talks_to_database() -> None:
    """Both ask it every few seconds; a loop that hangs does not."""
    import psycopg

    try:
        with psycopg.connect(os.environ["NEXUS_DATABASE_URL"], connect_timeout=_LIMIT_S) as connection:
            row = connection.execute(_SILENT, [_RECENT_S]).fetchone()
    except psycopg.Error as error:
        raise SickError(f"the database does not answer: {error}") from error
    if row is None or row[0]:
        raise SickError(f"has not talked to the database for {_RECENT_S} s")


def main(argv: Sequence[str]) -> int:
    try:
        check(argv[0] if argv else "")
    except SickError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
