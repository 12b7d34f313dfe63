"""May this user post this draft into this room? Each refusal as Rocket.Chat words it."""

import functools
from typing import Any

from gateway.devchat.errors import ChatError, PlainError, action_not_allowed
from gateway.devchat.mentions import without_code
from gateway.devchat.models import Room, User
from gateway.devchat.store import Store
from gateway.devchat.wire import Document, utf16_length

SYSTEM_TYPES = """
uj ui uir ul ru au mute_unmute r ut wm rm subscription-role-added subscription-role-removed room-archived room-unarchived
room_changed_privacy room_changed_description room_changed_announcement room_changed_avatar room_changed_topic
room_e2e_enabled room_e2e_disabled user-muted user-unmuted user-banned user-unbanned room-removed-read-only
room-set-read-only room-allowed-reacting room-disallowed-reacting command videoconf message_pinned message_pinned_e2e
new-moderator moderator-removed new-owner owner-removed new-leader leader-removed discussion-created
abac-removed-user-from-room removed-user-from-team added-user-to-team ult user-converted-to-team
user-converted-to-channel user-removed-room-from-team user-deleted-room-from-team user-added-room-to-team ujt
"""
ATTACHMENT_LINKS = (
    "thumb_url",
    "message_link",
    "author_link",
    "author_icon",
    "title_link",
    "image_url",
    "audio_url",
    "video_url",
)
ATTACHMENT_TEXTS = ("color", "text", "author_name", "title", "image_preview", "image_type", "button_alignment")


@functools.cache
def system_types() -> frozenset[str]:
    return frozenset(SYSTEM_TYPES.split())


def check_draft(store: Store, *, user: User, room: Room, draft: Document) -> None:
    check_restriction(store)
    check_may_post(store, user=user, room=room)
    _check_text(store, draft)
    _check_encryption(room, draft)
    _check_impersonation(store, user, room, draft)
    for attachment in draft.get("attachments") or []:
        _check_attachment(attachment)
    if draft.get("customFields") and not store.switches.custom_fields_enabled:
        raise PlainError("Custom fields not enabled")
    _check_group_mentions(store, user, room, draft_text(draft))


def draft_text(draft: Document) -> str:
    """Whatever is no text counts as none."""
    text = draft.get("msg")
    return text if isinstance(text, str) else ""


def check_restriction(store: Store) -> None:
    """A workspace without licence that could not deliver its statistics is read-only."""
    if store.switches.is_restricted:
        raise PlainError("restricted-workspace")


def check_may_post(store: Store, *, user: User, room: Room) -> None:
    if not store.can_access(user, room):
        raise PlainError("error-not-allowed")
    if room.is_archived:
        raise PlainError("room_is_archived")
    if room.is_read_only and not store.may(user, "post-readonly", room):
        raise PlainError("You can't send messages because the room is readonly.")
    if user.username in room.muted:
        raise PlainError("You have been muted and cannot speak in this room")


def _check_text(store: Store, draft: Document) -> None:
    text = draft_text(draft)
    limit = store.switches.max_message_size
    texts = [text, *(str(part.get("text") or "") for part in draft.get("attachments") or [] if isinstance(part, dict))]
    # Short texts cannot exceed the limit in UTF-16 either; only long ones pay for counting.
    if any(len(part) * 2 > limit and utf16_length(part) > limit for part in texts):
        raise ChatError(
            "error-message-size-exceeded", "Message size exceeds Message_MaxAllowedSize", {"method": "sendMessage"}
        )
    has_content = (
        text.strip() or draft.get("attachments") or draft.get("blocks") or draft.get("file") or draft.get("content")
    )
    if not has_content:
        raise ChatError("error-invalid-message", "Message is empty", {"method": "sendMessage"})


def _check_encryption(room: Room, draft: Document) -> None:
    if room.is_encrypted and draft.get("t") != "e2e":
        raise ChatError(
            "error-not-allowed",
            "Not allowed to send un-encrypted messages in an encrypted room",
            {"method": "sendMessage"},
        )


def _check_impersonation(store: Store, user: User, room: Room, draft: Document) -> None:
    if (draft.get("alias") or draft.get("avatar")) and not store.may(user, "message-impersonate", room):
        raise PlainError("Not enough permission")


def _check_group_mentions(store: Store, user: User, room: Room, text: str) -> None:
    if "@all" not in text and "@here" not in text:
        return
    words = without_code(text).split()
    for group in ("all", "here"):
        is_named = any(word.strip("*_~.,:;!?()") == f"@{group}" for word in words)
        if is_named and not store.may(user, f"mention-{group}", room):
            raise action_not_allowed(f"Notify_{group}_in_this_room", f"Notify {group} in this room not allowed")


def _check_attachment(attachment: Any) -> None:
    if not isinstance(attachment, dict):
        raise ChatError("400", "Match failed")
    for key in ATTACHMENT_TEXTS:
        if attachment.get(key) is not None and not isinstance(attachment[key], str):
            raise ChatError("400", "Match failed", {"path": key})
    for key in ATTACHMENT_LINKS:
        link = attachment.get(key)
        if link is not None and not _is_safe_link(link):
            raise PlainError("Invalid href value provided")
    for field in attachment.get("fields") or []:
        if not field.get("title") or not field.get("value"):
            raise PlainError("Invalid attachment field, title and value is required")


def _is_safe_link(link: object) -> bool:
    return isinstance(link, str) and link.startswith(("http://", "https://", "/file-upload/", "/ufs/", "/avatar/"))
