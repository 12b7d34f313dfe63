"""What can keep a change from being made; each text says what to do."""


class ChangeError(Exception):
    """Base of all of them. `code` is for programs, the text for people; nothing was changed."""

    code = "bad_value"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class BadValueError(ChangeError):
    """A value that can't be."""


class GoneError(ChangeError):
    """What was to be changed is not there (any more)."""

    code = "not_found"


class ConflictError(ChangeError):
    """Another row, or the state of this one, stands in the way."""

    code = "conflict"
