"""Which loopback ports are free?"""

import random
import socket

HOST = "127.0.0.1"
# Below the range from which systems take source ports of outgoing connections (32768 on Linux): a
# client that reconnects to a dead service must never be given that service's port as its own.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 200


class NoFreePortError(RuntimeError):
    """Every port that was tried is taken."""


class PortTakenError(RuntimeError):
    """Another program listens where we want to."""

    def __init__(self, *, port: int) -> None:
        self.port = port
        super().__init__(f"Port {port} on {HOST} is taken by another program.")


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do it: ports whose old connections are only waiting to be forgotten count as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """That many different ports on which nobody listens now."""
    chosen: list[int] = []
    picker = random.SystemRandom()
    for _ in range(_TRIES):
        if len(chosen) == count:
            return chosen
        port = picker.randint(_LOWEST, _HIGHEST)
        if port not in chosen and is_free(port):
            chosen.append(port)
    raise NoFreePortError(f"No {count} free ports between {_LOWEST} and {_HIGHEST} on {HOST}.")


def answers(port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((HOST, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True
