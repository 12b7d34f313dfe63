"""The REST doors below /api/v1/, one file per family of endpoints."""

from gateway.devchat.rest import chat, families, integrations, login, media, misc, reading, rooms, users

__all__ = ["chat", "families", "integrations", "login", "media", "misc", "reading", "rooms", "users"]
