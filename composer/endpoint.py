"""How is a model behind an OpenAI-compatible endpoint asked, with an end to waiting and a bound on what it may answer?"""

import time
from collections.abc import Mapping
from typing import Any, Final

PART_BYTES: Final = 64 * 1024


class EndpointError(RuntimeError):
    """There is no usable answer; the text, which follows the endpoint's name, says why."""


def post(*, url: str, key: str, body: Mapping[str, Any], timeout_s: float, max_bytes: int) -> bytes:
    """The body of a 200 answer.

    Raises:
        EndpointError: no connection, no whole answer in time, another status, or too much of it.
    """
    import requests
    from urllib3.exceptions import HTTPError

    # Compressed, a small answer could become a huge one.
    headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
    deadline = time.monotonic() + timeout_s
    try:
        # A redirect would carry what was said, and perhaps the key, to somebody whom nobody chose.
        with requests.post(
            url, json=body, headers=headers, timeout=timeout_s, allow_redirects=False, stream=True
        ) as response:
            if response.status_code != 200:
                raise EndpointError(f"answered HTTP {response.status_code}")
            return _read(response.raw, deadline=deadline, max_bytes=max_bytes)
    except (requests.RequestException, HTTPError, OSError) as error:
        raise EndpointError(f"could not be reached: {type(error).__name__}") from error


def _read(raw: Any, *, deadline: float, max_bytes: int) -> bytes:  # urllib3's answer, which requests does not type
    """What comes byte by byte would outlive every timeout of a single read."""
    answer = b""
    while part := raw.read1(PART_BYTES):
        answer += part
        if len(answer) > max_bytes:
            raise EndpointError("sent an answer that is too large")
        if time.monotonic() > deadline:
            raise EndpointError("did not answer in time")
    return answer
