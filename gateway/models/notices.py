"""What a room is told apart from replies: cards, queue places, errors, answers to commands."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from gateway.models.identity import Agent
from gateway.models.invocations import Invocation
from gateway.models.messages import Message
from gateway.models.rooms import Room


class NoticeKind(models.TextChoices):
    ENDED = "ended"
    WAITING = "waiting"
    QUEUED = "queued"
    CARD = "card"
    COMMAND = "command"
    WARNING = "warning"


class Notice(models.Model):
    """The poster of `agent`'s bot account (of `nexus` where empty) brings the room to `revision` of `text`.

    An empty text takes the message away again. `chat_id` is ours and fixed, so posting twice posts once. A text that is
    too long for one message stands in several.
    """

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="notices")
    agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.CASCADE, related_name="notices")
    invocation = models.ForeignKey(Invocation, null=True, blank=True, on_delete=models.CASCADE, related_name="notices")
    about = models.ForeignKey(Message, null=True, blank=True, on_delete=models.SET_NULL, related_name="notices")
    kind = models.CharField(max_length=10, choices=NoticeKind)
    thread = models.CharField(max_length=64, blank=True)
    text = models.TextField(blank=True)
    chat_id = models.CharField(max_length=17, unique=True)
    revision = models.PositiveIntegerField(default=1)
    posted_revision = models.PositiveIntegerField(default=0)
    part_count = models.PositiveSmallIntegerField(
        default=1, db_default=1, help_text="Chat messages it stands in; the last has `chat_id`."
    )
    posted_at = models.DateTimeField(null=True, blank=True)
    failed_reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "notices"
        constraints = [
            # A run has one sentence of a kind, but a card for each of its questions.
            models.UniqueConstraint(
                fields=["invocation", "kind"], name="notice_once_per_kind", condition=~Q(kind="card")
            ),
            models.CheckConstraint(condition=Q(posted_revision__lte=F("revision")), name="notice_posted_not_ahead"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["agent", "id"], name="notice_due", condition=Q(posted_revision__lt=F("revision"))),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.chat_id}"
