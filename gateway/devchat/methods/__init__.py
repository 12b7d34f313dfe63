"""The DDP methods that clients can call, one file per subject."""

from gateway.devchat.methods import chat, login, rooms, streams
from gateway.devchat.methods.registry import METHODS

__all__ = ["METHODS", "chat", "login", "rooms", "streams"]
