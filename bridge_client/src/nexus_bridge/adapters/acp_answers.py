"""What an agent's answers to our own requests say: which model it uses, and why it refused."""

from typing import Final

from nexus_bridge.adapters.failures import STATUS_KINDS, kind_of_words, plain_message
from nexus_bridge.adapters.lines import Frame, count_of, list_of, number_of, text_of
from nexus_bridge.events import ErrorKind

_AUTH_REQUIRED: Final = -32000


def kind_of(error: Frame) -> ErrorKind:
    named = text_of(error, "data", "errorKind")
    if named == "authentication_failed" or number_of(error, "code") == _AUTH_REQUIRED:
        return "auth"
    words = f"{text_of(error, 'message')} {text_of(error, 'data', 'details')} {named}"
    return STATUS_KINDS.get(count_of(error, "code")) or kind_of_words(words) or "unknown"


def words_of(error: Frame) -> str:
    details = text_of(error, "data", "details") or text_of(error, "data", "message")
    return details or plain_message(text_of(error, "message")) or "no reason given"


def model_of(result: Frame) -> str:
    if current := text_of(result, "models", "currentModelId"):
        return current
    options = list_of(result, "configOptions")
    return next((text_of(one, "currentValue") for one in options if text_of(one, "id") == "model"), "")
