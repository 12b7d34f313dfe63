"""One agent asked to answer one message: a row with a state. docs/architecture.md draws the states.

Nobody assigns `state`: gateway/invocations.py has the table of transitions, and a trigger refuses any other edge.
"""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from gateway.models.identity import Agent, User
from gateway.models.messages import Message
from gateway.models.rooms import Room


class State(models.TextChoices):
    QUEUED = "queued"
    WAITING = "waiting"
    COMPOSING = "composing"
    COMPOSED = "composed"
    OFFERED = "offered"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    EXPIRED = "expired"
    REFUSED = "refused"


class Purpose(models.TextChoices):
    """A summary is asked for by nobody in a room, and no room hears of it."""

    ANSWER = "answer"
    SUMMARY = "summary"


LIVE = (State.COMPOSING, State.COMPOSED, State.OFFERED, State.RUNNING)
"""States that hold a lane."""

FINAL = (State.DONE, State.FAILED, State.CANCELLED, State.INTERRUPTED, State.EXPIRED, State.REFUSED)


class Invocation(models.Model):
    """`fence` rises with each claim for composing; a writer with an older one changes nothing.

    `lane` is set exactly in live states. `serial_room` is the room this row holds while live, if that room is serial.
    """

    message = models.ForeignKey(Message, on_delete=models.PROTECT, related_name="invocations")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="invocations")
    attempt = models.PositiveSmallIntegerField(default=1)
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="retries")
    room = models.ForeignKey(Room, on_delete=models.PROTECT, related_name="invocations")
    thread = models.CharField(max_length=64, blank=True)
    session_key = models.CharField(max_length=150)
    asker_user = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    asker_agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    root_asker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="invocations")
    hop = models.PositiveSmallIntegerField(default=0)
    purpose = models.CharField(
        max_length=10, choices=Purpose, default=Purpose.ANSWER, db_default=Purpose.ANSWER, editable=False
    )

    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    reason = models.CharField(max_length=60, blank=True)
    detail = models.TextField(blank=True)
    lane = models.PositiveSmallIntegerField(null=True, blank=True)
    serial_room = models.ForeignKey(Room, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    fence = models.PositiveBigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    crashes = models.PositiveSmallIntegerField(default=0)
    bridge_session = models.CharField(max_length=64, blank=True)
    journal = models.CharField(max_length=32, blank=True)
    last_seq = models.PositiveBigIntegerField(default=0)
    output_sha256 = models.CharField(max_length=64, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)

    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_to = models.CharField(
        max_length=12, blank=True, help_text="State the cancel leads to: cancelled or failed."
    )
    cancel_reason = models.CharField(max_length=60, blank=True)
    wait_until = models.DateTimeField()
    files_until = models.DateTimeField(
        null=True, blank=True, help_text="Files of the question are being fetched; not claimed before then."
    )

    opened_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(db_default=Now())
    composing_at = models.DateTimeField(null=True, blank=True)
    composed_at = models.DateTimeField(null=True, blank=True)
    offered_at = models.DateTimeField(null=True, blank=True)
    running_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    first_text_at = models.DateTimeField(null=True, blank=True)
    reply_settled_at = models.DateTimeField(null=True, blank=True, help_text="The room has the final word.")

    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)

    class Meta:
        db_table = "invocations"
        constraints = [
            models.UniqueConstraint(fields=["message", "agent", "purpose", "attempt"], name="invocation_once"),
            models.UniqueConstraint(
                fields=["agent", "lane"], condition=Q(state__in=LIVE), name="invocation_lane_once"
            ),
            models.UniqueConstraint(
                fields=["serial_room"], condition=Q(state__in=LIVE), name="invocation_serial_room_once"
            ),
            models.UniqueConstraint(
                fields=["agent", "session_key"], condition=Q(state__in=LIVE), name="invocation_session_once"
            ),
            models.CheckConstraint(condition=Q(state__in=State.values), name="invocation_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=LIVE, lane__isnull=False) | (~Q(state__in=LIVE) & Q(lane__isnull=True)),
                name="invocation_live_has_lane",
            ),
            models.CheckConstraint(
                condition=Q(state__in=LIVE) | Q(serial_room__isnull=True), name="invocation_live_holds_room"
            ),
            models.CheckConstraint(
                condition=Q(state__in=FINAL, ended_at__isnull=False)
                | (~Q(state__in=FINAL) & Q(ended_at__isnull=True)),
                name="invocation_final_has_end",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=FINAL) | Q(state=State.DONE) | ~Q(reason=""), name="invocation_end_has_reason"
            ),
            models.CheckConstraint(
                condition=Q(asker_user__isnull=False, asker_agent__isnull=True)
                | Q(asker_user__isnull=True, asker_agent__isnull=False),
                name="invocation_asker_user_xor_agent",
            ),
            models.CheckConstraint(condition=Q(purpose__in=Purpose.values), name="invocation_purpose_known"),
            models.CheckConstraint(
                condition=Q(purpose=Purpose.ANSWER) | Q(reply_settled_at__isnull=False, serial_room__isnull=True),
                name="invocation_summary_is_silent",
            ),
            models.CheckConstraint(condition=Q(attempt__gte=1), name="invocation_attempt_from_one"),
            models.CheckConstraint(
                condition=Q(serial_room__isnull=True) | Q(serial_room=F("room")), name="invocation_holds_own_room"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["agent", "message"], name="invocation_queue", condition=Q(state="queued")),
            models.Index(fields=["state", "lease_until"], name="invocation_open", condition=~Q(state__in=FINAL)),
            models.Index(
                fields=["agent", "id"], name="invocation_unsettled", condition=Q(reply_settled_at__isnull=True)
            ),
            models.Index(fields=["room", "-opened_at"], name="invocation_room_recent"),
            models.Index(fields=["ended_at"], name="invocation_ended", condition=Q(ended_at__isnull=False)),
            models.Index(fields=["opened_at"], name="invocation_recent"),
            models.Index(
                fields=["files_until"], name="invocation_wants_files", condition=Q(files_until__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk} {self.state}"


class Steer(models.Model):
    """Words that a person added to a running invocation."""

    invocation = models.ForeignKey(Invocation, on_delete=models.CASCADE, related_name="steers")
    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="steer")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "steers"

    def __str__(self) -> str:
        return f"{self.invocation_id} by {self.user_id}"
