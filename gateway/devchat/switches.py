"""Which settings of the workspace can an operator or a test change?"""

from dataclasses import dataclass, fields
from typing import Literal

from gateway.devchat.wire import Document


@dataclass(slots=True)
class Switches:
    # From 9 on what is announced for that version holds.
    version: str = "8.8.1"
    site_url: str = "http://127.0.0.1:3000"
    limits_enabled: bool = True
    rest_limit_calls: int = 10
    rest_limit_ms: int = 60_000
    # A Community workspace without licence and without delivered statistics refuses to post.
    is_restricted: bool = False
    # Verified mail addresses are enrolled in two-factor by mail at creation, so a password alone no longer logs in.
    enrolls_email_two_factor: bool = False
    two_factor_enabled: bool = True
    # DDP answers a method with `updated` before `result`.
    updated_before_result: bool = False
    # What chat.sendMessage says about an `_id` it already holds: 8.x stumbles over its own empty result ("error").
    duplicate_reply: Literal["error", "message", "empty"] = "error"
    shows_deleted_status: bool = False
    max_message_size: int = 5_000
    max_file_size: int = 104_857_600
    blocked_media_types: str = "image/svg+xml"
    edit_block_minutes: int = 0
    custom_fields_enabled: bool = False
    create_tokens_secret: str = ""
    # Whether version 9 keeps the one stream of all rooms' messages is not announced: without it each room is asked for.
    has_my_messages: bool = True

    @property
    def is_nine(self) -> bool:
        major = self.version.partition(".")[0]
        return major.isdecimal() and int(major) >= 9

    def change(self, changes: Document) -> None:
        """Raises ValueError, naming the switch, for an unknown name or a value of another type."""
        known = {field.name for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no switch named {name}; there are: {', '.join(sorted(known))}")
            if type(value) is not type(getattr(self, name)):
                raise ValueError(f"{name} takes a {type(getattr(self, name)).__name__}")
        for name, value in changes.items():
            setattr(self, name, value)

    def document(self) -> Document:
        secret = {"create_tokens_secret"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in secret}
