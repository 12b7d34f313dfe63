"""How is a connection cut without a goodbye?"""

from typing import Any


def cut_line(receive: Any) -> None:
    """ASGI has no word for it, but under uvicorn `receive` is a method of the object that owns the transport."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
