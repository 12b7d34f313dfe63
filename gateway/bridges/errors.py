"""What can keep a bridge from being made; each text says what to do."""


class BridgeError(Exception):
    """Base of all of them; nothing was left half-made."""


class BadNameError(BridgeError):
    def __init__(self, *, slug: str, why: str) -> None:
        super().__init__(f"slug must match ^[a-z][a-z0-9-]{{1,39}}$ and be free: {slug!r} {why}")


class UnknownCliError(BridgeError):
    def __init__(self, *, cli: str, known: list[str]) -> None:
        super().__init__(f"unknown CLI kind {cli!r}; known are {', '.join(known)}")


class NoSuchUserError(BridgeError):
    def __init__(self, *, username: str) -> None:
        super().__init__(f"no such user: {username!r} has no account in the chat; write the name as the chat shows it")


class NoSuchRoomError(BridgeError):
    def __init__(self, *, name: str) -> None:
        super().__init__(f"no such room: {name!r}, or Nexus's admin account can't see it; nothing was made")


class TakenError(BridgeError):
    """The name belongs to somebody else."""


class ChatTroubleError(BridgeError):
    """The chat did not do what it was asked to; the same command again goes on from there."""


class NoSuchBridgeError(BridgeError):
    def __init__(self, *, bridge_id: int) -> None:
        super().__init__(f"there is no bridge {bridge_id}, or it has been revoked")


class BadJoinCodeError(BridgeError):
    """One text for unknown, used and expired codes."""

    def __init__(self) -> None:
        super().__init__(
            "this join code is unknown, used or older than a day; ask for a new one: manage.py issue_join"
        )
