"""Who there is: users, agents and their bot accounts, projects."""

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

SLUG_PATTERN = r"^[a-z][a-z0-9-]{1,63}$"


class CliKind(models.TextChoices):
    CLAUDE = "claude"
    CODEX = "codex"
    GEMINI = "gemini"
    CURSOR = "cursor"
    HERMES = "hermes"
    OPENCODE = "opencode"
    ACP = "acp"
    PTY = "pty"
    ECHO = "echo"


class WhoMayAsk(models.TextChoices):
    OWNER = "owner"
    ROOM = "room"
    NAMED = "named"


class User(models.Model):
    """A human with a chat account."""

    rocketchat_id = models.CharField(max_length=64, unique=True)
    username = models.CharField(max_length=200, db_index=True)
    display_name = models.CharField(max_length=300, blank=True)
    role = models.CharField(max_length=20, default="user", choices=[("user", "user"), ("admin", "admin")])
    is_foreign_bot = models.BooleanField(default=False, help_text="Another program's account: heard, never answered.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "users"

    def __str__(self) -> str:
        return self.username


class Project(models.Model):
    slug = models.CharField(max_length=64, unique=True)
    title = models.CharField(max_length=200)
    managers = models.ManyToManyField(User, related_name="managed_projects", db_table="project_managers", blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "projects"

    def __str__(self) -> str:
        return self.slug


class AgentQuerySet(models.QuerySet["Agent"]):
    def online(self) -> Self:
        """Agents whose bridge holds a lease now, by database time."""
        return self.filter(is_enabled=True, bridge__revoked_at=None, bridge__lease_until__gt=Now())


class Agent(models.Model):
    """An AI participant; its CLI runs behind `bridge`."""

    slug = models.CharField(max_length=64, unique=True)
    cli_kind = models.CharField(max_length=20, choices=CliKind)
    persona = models.TextField(blank=True, max_length=8_000)
    bridge = models.ForeignKey(
        "gateway.Bridge", null=True, blank=True, on_delete=models.SET_NULL, related_name="agents"
    )
    owner = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="agents", help_text="None: the host's own."
    )
    who_may_ask = models.CharField(max_length=10, choices=WhoMayAsk, default=WhoMayAsk.OWNER)
    allowed_askers = models.ManyToManyField(User, related_name="+", db_table="agent_askers", blank=True)
    approvers = models.ManyToManyField(User, related_name="+", db_table="agent_approvers", blank=True)
    accepts_handover_from = models.ManyToManyField(
        "self", symmetrical=False, related_name="may_hand_over_to", db_table="agent_handovers", blank=True
    )
    parallel = models.PositiveSmallIntegerField(default=1)
    prompt_budget = models.PositiveIntegerField(null=True, blank=True, help_text="Token count; empty: the host's.")
    token_percent = models.PositiveSmallIntegerField(
        default=100,
        db_default=100,
        help_text="What the agent's model counts for 100 tokens of our estimate: 25 to 400.",
    )
    is_enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = AgentQuerySet.as_manager()

    class Meta:
        db_table = "agents"
        constraints = [
            models.CheckConstraint(condition=Q(slug__regex=SLUG_PATTERN), name="agent_slug_form"),
            models.CheckConstraint(condition=Q(parallel__gte=1, parallel__lte=32), name="agent_parallel_range"),
            models.CheckConstraint(
                condition=Q(token_percent__gte=25, token_percent__lte=400), name="agent_token_percent_range"
            ),
            models.CheckConstraint(condition=Q(cli_kind__in=CliKind.values), name="agent_cli_kind_known"),
        ]

    def __str__(self) -> str:
        return self.slug


class PersonaVersion(models.Model):
    """What a persona said before; one row per change, never edited."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="persona_versions")
    text = models.TextField(blank=True)
    changed_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "persona_versions"

    def __str__(self) -> str:
        return f"{self.agent_id}: {self.created_at}"


class BotAccount(models.Model):
    """A chat account that Nexus holds: one per agent, and `nexus` itself (agent empty).

    The chat process that holds the lease listens and posts for it. `access_token` is encrypted (gateway/secrets.py).
    """

    agent = models.OneToOneField(Agent, null=True, blank=True, on_delete=models.CASCADE, related_name="bot_account")
    rocketchat_id = models.CharField(max_length=64, unique=True)
    username = models.CharField(max_length=200, unique=True)
    access_token = models.BinaryField(blank=True, default=b"")
    is_broken = models.BooleanField(default=False)
    broken_reason = models.CharField(max_length=300, blank=True)
    lease_owner = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "bot_accounts"

    def __str__(self) -> str:
        return self.username
