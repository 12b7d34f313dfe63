"""Whom do we trust to be the chat, and what is wrong when its certificate is not good? One sentence, with the cure."""

import ssl
from typing import Final

DEPTH: Final = 12
"""How far an error is followed to its cause; libraries wrap it a few times."""

_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAME = (62, 64)


def context(*, ca_file: str) -> ssl.SSLContext:
    """What this host trusts, and the authority in `ca_file` if there is one."""
    made = ssl.create_default_context()
    if ca_file:
        made.load_verify_locations(cafile=ca_file)
    return made


def why(error: BaseException) -> str:
    """Empty where the failure has nothing to do with TLS."""
    found = _cause(error)
    if found is None:
        return ""
    if not isinstance(found, ssl.SSLCertVerificationError):
        return f"it does not speak TLS as it should ({found.reason or found}): is https right in NEXUS_ROCKETCHAT_URL?"
    if found.verify_code in _OTHER_NAME:
        return "its certificate is for another name: write the name of the certificate into NEXUS_ROCKETCHAT_URL"
    if found.verify_code == _EXPIRED:
        return "its certificate has expired: renew it there"
    if found.verify_code == _NOT_YET:
        return "its certificate is not valid yet: set this host's clock, or the one that made it"
    return (
        f"this host does not trust its certificate ({found.verify_message}): write the certificate of its authority, or"
        " its own if it signed itself, into a file and name that in NEXUS_ROCKETCHAT_CA"
    )


def _cause(error: BaseException) -> ssl.SSLError | None:
    """The first TLS error in the chain; `requests` keeps it in the arguments, others as the cause."""
    waiting: list[object] = [error]
    for _ in range(DEPTH):
        if not waiting:
            return None
        at = waiting.pop(0)
        if isinstance(at, ssl.SSLError):
            return at
        if isinstance(at, BaseException):
            waiting += [at.__cause__, at.__context__, vars(at).get("reason"), *at.args]
            waiting = [one for one in waiting if isinstance(one, BaseException)]
    return None
