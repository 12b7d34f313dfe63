"""The container's health check: `python -m docker.healthy NAME` ends with 0 when that program says that it does its work."""

import http.client
import sys
from collections.abc import Sequence
from typing import Final

from docker.start import PORTS

_LIMIT_S: Final = 6
_PATHS: Final = {"devchat": "/api/info"}


class SickError(Exception):
    """The text says what is wrong; it stands in `docker inspect`."""


def check(name: str) -> None:
    """Raises SickError."""
    if name not in PORTS:
        raise SickError(f"there is no program {name!r}")
    connection = http.client.HTTPConnection("127.0.0.1", PORTS[name], timeout=_LIMIT_S)
    try:
        connection.request("GET", _PATHS.get(name, "/healthz"))
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise SickError(f"answers {answer.status}: {answer.read(1_000).decode(errors='replace')}")
    except (OSError, http.client.HTTPException) as error:
        raise SickError(f"does not answer: {error}") from error
    finally:
        connection.close()


def main(argv: Sequence[str]) -> int:
    try:
        check(argv[0] if argv else "")
    except SickError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
