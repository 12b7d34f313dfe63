"""What was said: one row per chat message, agents' replies included, and the files that came with it."""

from typing import ClassVar

from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now

from gateway.models.identity import Agent, User
from gateway.models.rooms import Room


class Message(models.Model):
    """`text` is empty once `deleted_at` is set: the tombstone keeps order and links, not words."""

    rc_id = models.CharField(max_length=64, unique=True)
    room = models.ForeignKey(Room, on_delete=models.PROTECT, related_name="messages")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="messages")
    agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.PROTECT, related_name="messages")
    text = models.TextField(blank=True)
    thread = models.CharField(max_length=64, blank=True, help_text="rc_id of the thread's root.")
    system_type = models.CharField(max_length=60, blank=True)
    ts = models.DateTimeField()
    rc_updated_at = models.DateTimeField()
    edited_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    attachments = models.JSONField(default=list, blank=True)
    reactions = models.JSONField(default=dict, blank=True)
    remembered_at = models.DateTimeField(null=True, blank=True)
    stored_at = models.DateTimeField(db_default=Now())
    changed_xid = models.BigIntegerField(
        null=True,
        editable=False,
        db_default=Func(template="pg_current_xact_id()::text::bigint", output_field=models.BigIntegerField()),
        help_text="Transaction that wrote the words, a trigger sees to it: what a composer looks for.",
    )

    class Meta:
        db_table = "messages"
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=False, agent__isnull=True) | Q(user__isnull=True, agent__isnull=False),
                name="message_user_xor_agent",
            ),
            models.CheckConstraint(
                condition=Q(deleted_at__isnull=True) | Q(text=""), name="message_tombstone_is_empty"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["room", "ts", "id"], name="message_room_order"),
            models.Index(fields=["room", "thread", "ts"], name="message_thread_order"),
            models.Index(fields=["room", "changed_xid"], name="message_changes"),
            models.Index(fields=["id"], name="message_to_remember", condition=Q(remembered_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.rc_id


class SetAside(models.Model):
    """A poison message: stored as it came, with the reason, so that the cursor can go on."""

    rc_id = models.CharField(max_length=200, unique=True)
    rid = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=500)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "set_aside"

    def __str__(self) -> str:
        return self.rc_id


class Reaction(models.Model):
    """A reaction that was acted upon, so that it acts once."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="acted_reactions")
    actor = models.CharField(max_length=200)
    emoji = models.CharField(max_length=100)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "acted_reactions"
        constraints = [models.UniqueConstraint(fields=["message", "actor", "emoji"], name="reaction_acts_once")]

    def __str__(self) -> str:
        return f"{self.message_id} {self.actor} {self.emoji}"


class File(models.Model):
    """A file kept on disk under its hash until `expires_at`: of a message, or made by an invocation for the room.

    One of a message is wanted while it has neither hash nor `failed_reason`: the chat process fetches it. One of an
    invocation is due in the room until `posted_at` or `failed_reason` is set.
    """

    sha256 = models.CharField(max_length=64, db_index=True, blank=True)
    name = models.CharField(max_length=300)
    size = models.PositiveBigIntegerField()
    content_type = models.CharField(max_length=200, blank=True)
    message = models.ForeignKey(Message, null=True, blank=True, on_delete=models.CASCADE, related_name="files")
    invocation = models.ForeignKey(
        "gateway.Invocation", null=True, blank=True, on_delete=models.CASCADE, related_name="files"
    )
    rocketchat_id = models.CharField(max_length=64, blank=True)
    posted_at = models.DateTimeField(null=True, blank=True)
    failed_reason = models.CharField(max_length=300, blank=True, db_default="")
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "files"
        constraints = [
            models.CheckConstraint(condition=Q(sha256__regex=r"^([0-9a-f]{64})?$"), name="file_sha256_form"),
            models.UniqueConstraint(fields=["message", "rocketchat_id"], name="file_once_per_message"),
        ]

    def __str__(self) -> str:
        return self.name
