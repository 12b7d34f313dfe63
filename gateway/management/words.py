"""How do commands read numbers? So that whatever is none, or makes no sense, is refused before anything is done."""

from argparse import ArgumentTypeError
from collections.abc import Callable


def number(*, above: float, at_most: float) -> Callable[[str], float]:
    """For `type=` of an argument: a number, neither nan nor infinite."""

    def read(text: str) -> float:
        try:
            found = float(text) if text.isascii() else float("nan")
        except ValueError:
            found = float("nan")
        if not above < found <= at_most:
            raise ArgumentTypeError(f"{text[:40]!r} is no number above {above:g} and up to {at_most:g}")
        return found

    return read


def whole(*, at_least: int, at_most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(at_most))
        if not is_number or not at_least <= int(text) <= at_most:
            raise ArgumentTypeError(f"{text[:40]!r} is no whole number from {at_least} to {at_most}")
        return int(text)

    return read
