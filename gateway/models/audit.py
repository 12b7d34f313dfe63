"""Who did what: append-only rows, sealed afterwards by a hash chain."""

from django.db import models
from django.db.models.functions import Now


class AuditEntry(models.Model):
    """Never updated, never deleted: a trigger refuses both."""

    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=100, db_index=True)
    target = models.CharField(max_length=300, blank=True)
    detail = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "audit_log"
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.at} {self.actor} {self.action}"


class AuditSeal(models.Model):
    """SHA-256 over the previous seal and the entries first_id..last_id in id order."""

    first_id = models.BigIntegerField(unique=True)
    last_id = models.BigIntegerField(unique=True)
    entries = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    sealed_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "audit_seals"

    def __str__(self) -> str:
        return f"{self.first_id}..{self.last_id}"
