"""Rooms, who is in them, and how far each has been caught up."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from gateway.models.identity import Agent, Project, User


class RoomKind(models.TextChoices):
    CHANNEL = "channel"
    PRIVATE = "private"
    DM = "dm"


class Room(models.Model):
    rid = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=10, choices=RoomKind)
    name = models.CharField(max_length=300, blank=True)
    title = models.CharField(max_length=300, blank=True)
    topic = models.TextField(blank=True)
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.SET_NULL, related_name="rooms")
    is_quiet = models.BooleanField(default=False, help_text="The answer only, no live card.")
    has_eyes = models.BooleanField(
        default=False, db_default=False, help_text="👀 on a question that an agent has taken."
    )
    is_serial = models.BooleanField(default=False, help_text="One agent at a time.")
    is_archived = models.BooleanField(default=False)
    is_read_only = models.BooleanField(default=False)
    is_encrypted = models.BooleanField(default=False)
    dirty_at = models.DateTimeField(null=True, blank=True, help_text="A webhook asked for a catch-up.")
    nudged_at = models.DateTimeField(null=True, blank=True, help_text="The webhook's last call for it.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "rooms"
        constraints = [models.CheckConstraint(condition=Q(kind__in=RoomKind.values), name="room_kind_known")]

    def __str__(self) -> str:
        return self.name or self.rid


class RoomMember(models.Model):
    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="memberships")
    agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.CASCADE, related_name="memberships")
    is_owner = models.BooleanField(default=False)
    joined_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "room_members"
        constraints = [
            models.UniqueConstraint(fields=["room", "user"], name="room_user_once"),
            models.UniqueConstraint(fields=["room", "agent"], name="room_agent_once"),
            models.CheckConstraint(
                condition=Q(user__isnull=False, agent__isnull=True) | Q(user__isnull=True, agent__isnull=False),
                name="room_member_user_xor_agent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.room_id}: {self.user_id or self.agent_id}"


class RoomCursor(models.Model):
    """Everything of the room with `_updatedAt` up to `updated_to` is stored. Only catch-up moves it."""

    room = models.OneToOneField(Room, on_delete=models.CASCADE, primary_key=True, related_name="cursor")
    updated_to = models.DateTimeField()
    deleted_to = models.DateTimeField()
    caught_up_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "room_cursors"

    def __str__(self) -> str:
        return f"{self.room_id}: {self.updated_to}"
