"""The programs that run agents' CLIs, as the host knows them: tokens (digests only), session, lease."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from gateway.models.identity import Agent, User


class Bridge(models.Model):
    """Two token digests may live while a token is being rotated. It is online while `lease_until` lies ahead."""

    name = models.CharField(max_length=100, unique=True)
    owner = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="bridges")
    token_digest = models.CharField(max_length=64, unique=True)
    old_token_digest = models.CharField(max_length=64, blank=True, db_index=True)
    old_token_until = models.DateTimeField(null=True, blank=True)
    token_version = models.PositiveIntegerField(default=1)
    token_made_at = models.DateTimeField(db_default=Now())
    journal = models.CharField(max_length=32, blank=True)
    session = models.CharField(max_length=64, blank=True)
    gateway = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    client_version = models.CharField(max_length=100, blank=True)
    offers = models.JSONField(default=list, blank=True, help_text="Agents named in its last hello.")
    policies = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="By agent, how strict its owner's rules are, as the bridge told.",
    )
    load = models.JSONField(default=dict, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "bridges"
        constraints = [
            models.CheckConstraint(condition=Q(token_digest__regex=r"^[0-9a-f]{64}$"), name="bridge_token_is_digest"),
            models.CheckConstraint(
                condition=Q(old_token_digest="") | Q(old_token_until__isnull=False), name="bridge_old_token_ends"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def load_words(self) -> str:
        """What it said of itself in its last heartbeat; empty when it never did."""
        load = self.load if isinstance(self.load, dict) else {}
        if not load.get("memory_mib"):
            return ""
        waiting = f", {load['unacked_bytes'] // 1024} KiB not taken yet" if load.get("unacked_bytes") else ""
        running, sessions = load.get("running", 0), load.get("sessions", 0)
        return f"{running} running, {sessions} CLIs live, {load['memory_mib']} MiB{waiting}"


class JoinCode(models.Model):
    bridge = models.ForeignKey(Bridge, on_delete=models.CASCADE, related_name="join_codes")
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "join_codes"

    def __str__(self) -> str:
        return f"{self.bridge_id} until {self.expires_at}"


class HostLease(models.Model):
    """Which runtime_host may supervise the host's own bridge; one row per role."""

    role = models.CharField(max_length=40, primary_key=True)
    owner = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "host_leases"

    def __str__(self) -> str:
        return self.role


class ToolToken(models.Model):
    """Lets the CLI of one session call /mcp/ and fetch files; digest only."""

    digest = models.CharField(max_length=64, unique=True)
    bridge = models.ForeignKey(Bridge, on_delete=models.CASCADE, related_name="tool_tokens")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="tool_tokens")
    session_key = models.CharField(max_length=150)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "tool_tokens"
        constraints = [
            models.CheckConstraint(condition=Q(digest__regex=r"^[0-9a-f]{64}$"), name="tool_token_is_digest"),
        ]

    def __str__(self) -> str:
        return f"{self.bridge_id} {self.agent_id} {self.session_key}"
