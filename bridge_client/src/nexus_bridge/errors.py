"""Every error of the bridge, as one tree; the text of each tells its reader what to do.

BridgeError
├── ConfigError             the configuration can't be used; carries every problem at once
├── JournalError            the journal on disk can't be used
│   ├── JournalLocked       another bridge holds it; carries its pid
│   ├── JournalRefused      not ours, not private, a symlink, or not a journal
│   └── JournalWriteError   the disk did not take a record (full, read-only, broken)
├── ConnectionFailed        no connection now; worth another try
└── FinalError                 the hub said something that another try can't change
    ├── CredentialsRefused  unknown, revoked or expired bridge token
    ├── UpgradeRequired     hub and bridge share no protocol version
    ├── Replaced            another bridge connected with the same bridge token
    └── SentAway            the hub said bye for good, for a reason of its own
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar


class BridgeError(Exception):
    """Base of all errors that a person may read; `exit_code` is what the command ends with."""

    exit_code: ClassVar[int] = 1


class ConfigError(BridgeError):
    """One sentence per problem, each naming file, key and cure."""

    exit_code = os.EX_CONFIG

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class JournalError(BridgeError):
    exit_code = os.EX_IOERR


class JournalLocked(JournalError):
    exit_code = os.EX_TEMPFAIL

    def __init__(self, *, directory: Path, pid: int) -> None:
        super().__init__(
            f"nexus-bridge is already running as pid {pid} with the journal {directory}; "
            "stop it first, or give this one its own `journal` directory"
        )
        self.pid = pid


class JournalRefused(JournalError):
    exit_code = os.EX_NOPERM


class JournalWriteError(JournalError):
    """Carries the reason of the operating system."""


class ConnectionFailed(BridgeError):
    exit_code = os.EX_UNAVAILABLE


class FinalError(BridgeError):
    """Base of what ends the bridge; it is not tried again."""


class CredentialsRefused(FinalError):
    exit_code = os.EX_NOPERM


class UpgradeRequired(FinalError):
    exit_code = os.EX_PROTOCOL


class Replaced(FinalError):
    exit_code = os.EX_TEMPFAIL


class SentAway(FinalError):
    exit_code = os.EX_UNAVAILABLE
