"""Tools that agents may call, where they may, and what people decided about it."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from gateway.models.identity import Agent, User
from gateway.models.invocations import Invocation
from gateway.models.notices import Notice
from gateway.models.rooms import Room


class McpServer(models.Model):
    """An upstream tool server. It serves only while `definition_hash` is the approved one."""

    name = models.CharField(max_length=64, unique=True)
    transport = models.CharField(max_length=10, choices=[("stdio", "stdio"), ("http", "http"), ("nexus", "nexus")])
    definition = models.JSONField(default=dict)
    definition_hash = models.CharField(max_length=64, blank=True)
    approved_hash = models.CharField(max_length=64, blank=True)
    approved_by = models.CharField(max_length=200, blank=True)
    approved_tools = models.JSONField(default=dict, db_default={}, blank=True)
    """Hash by name of each tool that the yes was for, so that what changed since can be shown."""

    tools = models.JSONField(default=list, blank=True)
    is_enabled = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "mcp_servers"
        verbose_name = "MCP server"
        constraints = [
            models.CheckConstraint(
                condition=Q(is_enabled=False) | Q(transport="nexus") | (~Q(approved_hash="")),
                name="mcp_server_enabled_is_approved",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RoomTool(models.Model):
    """Leave for one tool in one room. No row: not allowed."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="tools")
    server = models.ForeignKey(McpServer, on_delete=models.CASCADE, related_name="room_tools")
    tool = models.CharField(max_length=128)
    needs_approval = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "room_tool_acl"
        constraints = [models.UniqueConstraint(fields=["room", "server", "tool"], name="room_tool_once")]

    def __str__(self) -> str:
        return f"{self.room_id} {self.tool}"


class Asks(models.TextChoices):
    """Who waits for the answer: a CLI at its bridge, a tool call at the hub, or an agent that wants to know something."""

    PERMISSION = "permission"
    TOOL = "tool"
    QUESTION = "question"


class Approval(models.Model):
    """A CLI's or a tool's question, and what became of it. `detail` is the whole command or diff.

    `card` is what the room sees of it; `span` what the yes covers beyond this once; `asked` whom a question is for.
    """

    kind = models.CharField(max_length=10, choices=Asks, default=Asks.PERMISSION)
    tool_kind = models.CharField(max_length=20, blank=True, default="other")
    card = models.OneToOneField(Notice, null=True, blank=True, on_delete=models.SET_NULL, related_name="approval")
    asked = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    span = models.CharField(max_length=60, blank=True)
    invocation = models.ForeignKey(Invocation, on_delete=models.CASCADE, related_name="approvals")
    permission = models.CharField(max_length=200)
    tool = models.CharField(max_length=200)
    detail = models.TextField(blank=True)
    decision = models.CharField(
        max_length=10, blank=True, choices=[("allow", "allow"), ("deny", "deny"), ("expired", "expired")]
    )
    note = models.TextField(blank=True)
    decided_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "approvals"
        constraints = [
            models.UniqueConstraint(fields=["invocation", "permission"], name="approval_once"),
            models.CheckConstraint(
                condition=Q(decision="", decided_at__isnull=True) | (~Q(decision="") & Q(decided_at__isnull=False)),
                name="approval_decided_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(decision="allow") | Q(decided_by__isnull=False), name="approval_allowed_by_somebody"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="approval_open", condition=Q(decision=""))]

    def __str__(self) -> str:
        return f"{self.invocation_id} {self.tool} {self.decision}"


class Grant(models.Model):
    """A standing yes: this agent, this room, this tool, until then."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="grants")
    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="grants")
    tool = models.CharField(max_length=200)
    until = models.DateTimeField(null=True, blank=True)
    granted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "grants"
        constraints = [models.UniqueConstraint(fields=["agent", "room", "tool"], name="grant_once")]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.room_id} {self.tool}"
