"""The runtime's tables: what came from the CLIs, and which chat messages it became."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from gateway.models import Invocation


class Chunk(models.Model):
    """One numbered piece of output. `payload` is text and not jsonb: its bytes go into the digest of `end`."""

    pk = models.CompositePrimaryKey("invocation_id", "seq")
    invocation = models.ForeignKey(Invocation, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    seq = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=12)
    payload = models.TextField()
    stored_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "chunks"
        constraints = [models.CheckConstraint(condition=Q(seq__gte=1), name="chunk_seq_from_one")]

    def __str__(self) -> str:
        return f"{self.invocation_id}/{self.seq}"


class ReplyPart(models.Model):
    """One chat message of a reply; `revision` counts the edits that reached the chat."""

    invocation = models.ForeignKey(Invocation, on_delete=models.CASCADE, related_name="reply_parts")
    part = models.PositiveSmallIntegerField()
    chat_id = models.CharField(max_length=17, unique=True)
    text_sha256 = models.CharField(max_length=64, blank=True, help_text="Of the text last confirmed in chat.")
    revision = models.PositiveIntegerField(default=0)
    is_final = models.BooleanField(default=False)
    is_gone = models.BooleanField(default=False, help_text="People deleted it; it is not posted again.")
    posted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "reply_parts"
        constraints = [models.UniqueConstraint(fields=["invocation", "part"], name="reply_part_once")]

    def __str__(self) -> str:
        return f"{self.invocation_id}/{self.part}"
