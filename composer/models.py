"""The composer's tables: prompts as they were given, and what the team knows."""

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from pgvector.django import HnswIndex, VectorField

from gateway.models import Agent, Invocation, Message, Room, User

VECTOR_DIMENSIONS = 1536
KINDS = ("decision", "spec", "code", "question", "action")
"""Of landmarks."""


class Prompt(models.Model):
    """What an agent saw. `sections` is a list of {title, chars, token_count, sources}; `left_out` says what and why."""

    invocation = models.OneToOneField(Invocation, on_delete=models.CASCADE, related_name="prompt")
    fence = models.PositiveBigIntegerField()
    text = models.TextField()
    sections = models.JSONField(default=list)
    left_out = models.JSONField(default=list)
    token_count = models.PositiveIntegerField()
    budget = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "prompts"

    def __str__(self) -> str:
        return f"prompt of {self.invocation_id}"

    def parts(self) -> list[dict[str, Any]]:
        """`sections` with each one's text, which stands in the prompt's, one after the other with a break between."""
        parts, start = [], 0
        for section in self.sections:
            chars = section.get("chars", 0)
            # A prompt of an earlier version holds each section's text again.
            text = section.get("text", self.text[start : start + chars])
            parts.append({**{key: section[key] for key in section if key != "chars"}, "text": text})
            start += chars + 1
        return parts


class Summary(models.Model):
    """A stretch of a room's messages, compacted. The messages stay.

    Of messages from `first_message` to `last_message`: tier span of all of the room, day of those outside threads, thread
    of that thread's.
    """

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="summaries")
    thread = models.CharField(max_length=64, blank=True)
    first_message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    last_message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    message_count = models.PositiveIntegerField()
    tier = models.CharField(max_length=10, choices=[("span", "span"), ("thread", "thread"), ("day", "day")])
    text = models.TextField()
    token_count = models.PositiveIntegerField()
    made_by = models.CharField(max_length=100)
    note = models.CharField(max_length=300, blank=True, help_text="Why summarisers before this one could not.")
    embedding = VectorField(dimensions=VECTOR_DIMENSIONS, null=True, blank=True)
    embedder = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "summaries"
        verbose_name_plural = "summaries"
        constraints = [
            models.UniqueConstraint(
                fields=["room", "thread", "tier", "first_message", "last_message"], name="summary_once_per_span"
            ),
            models.CheckConstraint(
                condition=Q(embedding__isnull=True) | ~Q(embedder=""), name="summary_names_embedder"
            ),
        ]
        indexes: ClassVar = [
            HnswIndex(
                name="summary_embedding_hnsw",
                fields=["embedding"],
                m=16,
                ef_construction=64,
                opclasses=["vector_cosine_ops"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.room_id} {self.tier} {self.first_message_id}..{self.last_message_id}"


class SummaryOrder(models.Model):
    """An agent of the host is asked for the summary of a thread or a day. `fingerprint` is of the messages as they were."""

    invocation = models.OneToOneField(Invocation, on_delete=models.CASCADE, related_name="summary_order")
    tier = models.CharField(max_length=10, choices=[("thread", "thread"), ("day", "day")])
    first_message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    last_message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    message_ids = ArrayField(models.BigIntegerField())
    fingerprint = models.CharField(max_length=64)
    token_count = models.PositiveIntegerField(help_text="What the summary may have.")

    class Meta:
        db_table = "summary_orders"
        constraints = [
            models.UniqueConstraint(fields=["tier", "first_message", "last_message"], name="summary_order_once"),
        ]

    def __str__(self) -> str:
        return f"{self.tier} {self.first_message_id}..{self.last_message_id}"


class Landmark(models.Model):
    """A pinned message: never compacted, in every prompt of its room while live.

    `room` is always its message's (a trigger sets it), for the index. `superseded_by` is a later landmark that replaces it.
    """

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="landmark")
    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="+", editable=False)
    kind = models.CharField(max_length=10, choices=[(kind, kind) for kind in KINDS])
    found_by = models.CharField(
        max_length=10, default="person", choices=[(way, way) for way in ("person", "rule", "chat", "agent")]
    )
    pinned_by_user = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    pinned_by_agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    superseded_by = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    unpinned_at = models.DateTimeField(null=True, blank=True)
    unpinned_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "landmarks"
        indexes: ClassVar = [
            models.Index(
                fields=["room", "-created_at", "-id"], name="landmark_live", condition=Q(unpinned_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.message_id}"


class Fact(models.Model):
    """A structured statement. `scope` is room:<rid>, dm:<user>:<agent>, profile:<user>, project:<id> or global.

    A learned one names Mem0's row; a trigger takes that away with it.
    """

    scope = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    value = models.JSONField()
    confidence = models.FloatField(default=1.0)
    source_message = models.ForeignKey(Message, null=True, blank=True, on_delete=models.CASCADE, related_name="facts")
    set_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    memory_id = models.UUIDField(null=True, blank=True, unique=True, help_text="Learned by Mem0: its row.")
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "facts"
        constraints = [
            models.UniqueConstraint(fields=["scope", "key"], name="fact_once_per_scope"),
            models.CheckConstraint(
                condition=Q(scope__regex=r"^(room:\S+|dm:\S+:\S+|profile:\S+|project:\S+|global)$"),
                name="fact_scope_form",
            ),
            models.CheckConstraint(condition=Q(confidence__gte=0, confidence__lte=1), name="fact_confidence_range"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}"


class Forgetting(models.Model):
    """A person's wish to be forgotten: all that he had said. Done in batches, so it may be taken up again.

    Both limits count: what was stored by then, whatever its clock says, and what was said by then and is found later.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    asked_at = models.DateTimeField()
    last_message_id = models.BigIntegerField(default=0)
    done_at = models.DateTimeField(null=True, blank=True)
    message_count = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "forgettings"
        constraints = [models.UniqueConstraint(fields=["user", "asked_at"], name="forgetting_once")]
        indexes: ClassVar = [
            models.Index(fields=["id"], name="forgetting_to_do", condition=Q(done_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.asked_at}"


class Memory(models.Model):
    """Mem0's table, made by our migration with the indexes it lacks; only mem0-api writes it."""

    id = models.UUIDField(primary_key=True)
    vector = VectorField(dimensions=VECTOR_DIMENSIONS, null=True)
    payload = models.JSONField(null=True)

    class Meta:
        db_table = "memories"
        verbose_name_plural = "memories"
        indexes: ClassVar = [
            HnswIndex(
                name="memories_hnsw_idx",
                fields=["vector"],
                m=16,
                ef_construction=64,
                opclasses=["vector_cosine_ops"],
            ),
            GinIndex(fields=["payload"], name="memories_payload", opclasses=["jsonb_path_ops"]),
        ]

    def __str__(self) -> str:
        return str(self.id)
