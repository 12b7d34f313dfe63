"""A bridge with its agent and bot account, in one go: all or nothing, and safe to repeat."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from gateway import audit, bridge_auth
from gateway.bridges import accounts
from gateway.bridges.accounts import Account, Person
from gateway.bridges.errors import BridgeError, ChatTroubleError, TakenError
from gateway.bridges.naming import check_cli, check_slug, slug_of
from gateway.models import Agent, BotAccount, Bridge, User, WhoMayAsk
from gateway.rocketchat.admin import Login
from gateway.rocketchat.calls import RestError


@dataclass(frozen=True, slots=True)
class Made:
    """`token` is the bridge token, here and never again; empty when everything was there already."""

    bridge_id: int
    agent_id: int
    slug: str
    cli: str
    token: str
    is_new: bool
    parallel: int = 1


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The agent that is to be there."""

    slug: str
    cli: str
    who_may_ask: str
    parallel: int
    actor: str


def create(
    *,
    user: str,
    cli: str,
    role: str = "",
    rooms: Sequence[str] = (),
    slug: str = "",
    who_may_ask: str = WhoMayAsk.OWNER,
    parallel: int = 1,
    actor: str = "command",
) -> Made:
    """Make `user`'s agent for a CLI behind a new bridge. Raises BridgeError; then nothing of it is there.

    Where the agent exists, only rooms are added: its token is told once, at its making; `rotate` makes another.
    """
    check_cli(cli)
    slug = slug or slug_of(cli=cli, user=user, role=role)
    check_slug(slug)
    wanted = _Wanted(slug, cli, who_may_ask, parallel, actor)
    try:
        with accounts.admin_login() as admin:
            return _create(admin, wanted, user=user, rooms=rooms)
    except RestError as error:
        raise ChatTroubleError(f"the chat did not do it: {error}. Run the same command again") from error
    except IntegrityError as error:
        raise TakenError(f"{slug!r} was made by somebody else a moment ago; run the same command again") from error


def _create(admin: Login, wanted: _Wanted, *, user: str, rooms: Sequence[str]) -> Made:
    owner = accounts.find_person(admin, username=user)
    found = accounts.find_rooms(admin, names=tuple(rooms))
    made = _existing(slug=wanted.slug, owner=owner, cli=wanted.cli)
    if made is not None:
        known = BotAccount.objects.get(agent=made.agent_id)
        accounts.invite(admin, account_id=known.rocketchat_id, rooms=found)
        return made
    name = f"{owner.name or owner.username}'s {wanted.cli}"
    account = accounts.ensure_account(admin, slug=wanted.slug, name=name)
    try:
        accounts.invite(admin, account_id=account.user_id, rooms=found)
        return _store(wanted=wanted, owner=owner, account=account)
    except (BridgeError, IntegrityError):
        if account.is_new:
            accounts.take_away(admin, user_id=account.user_id)
        raise


def ensure_host(*, name: str, agents: Sequence[tuple[str, str, int]], actor: str = "runtime_host") -> Bridge:
    """The host's own bridge with its agents (slug, CLI kind, parallel), which have no owner and answer any member.

    Its token is nobody's until `rotate` makes one: the stored digest is of a secret that is thrown away at once.
    """
    digest = bridge_auth.digest_of(bridge_auth.new_bridge_token())
    bridge, _ = Bridge.objects.get_or_create(name=name, defaults={"token_digest": digest})
    wanted = {slug for slug, _, _ in agents}
    Agent.objects.filter(bridge=bridge).exclude(slug__in=wanted).update(is_enabled=False)
    missing = [one for one in agents if not Agent.objects.filter(slug=one[0], bot_account__isnull=False).exists()]
    if missing:
        try:
            with accounts.admin_login() as admin:
                for slug, cli, _ in missing:
                    _ensure_host_agent(admin, bridge=bridge, slug=slug, cli=cli, actor=actor)
        except RestError as error:
            raise ChatTroubleError(f"the chat did not make the host's agents: {error}") from error
    for slug, _, parallel in agents:
        Agent.objects.filter(slug=slug, owner=None).update(bridge=bridge, is_enabled=True, parallel=parallel)
    return bridge


def _ensure_host_agent(admin: Login, *, bridge: Bridge, slug: str, cli: str, actor: str) -> None:
    check_slug(slug)
    if Agent.objects.filter(slug=slug).exclude(owner=None).exists():
        raise TakenError(f"{slug!r} is an agent of somebody here; the host's own agent of that name is left out")
    account = accounts.ensure_account(admin, slug=slug, name=slug)
    with transaction.atomic():
        agent, _ = Agent.objects.get_or_create(
            slug=slug, defaults={"cli_kind": cli, "bridge": bridge, "who_may_ask": WhoMayAsk.ROOM}
        )
        accounts.store_account(agent=agent, account=account)
        audit.record(actor=actor, action="agent_created", target=slug, cli=cli, bridge=bridge.name)


def _existing(*, slug: str, owner: Person, cli: str) -> Made | None:
    """The agent that is there already. Raises TakenError when it is somebody else's or another CLI's."""
    agent = Agent.objects.select_related("owner", "bridge").filter(slug=slug).first()
    if agent is None:
        return None
    if agent.owner is None or agent.owner.rocketchat_id != owner.user_id:
        raise TakenError(f"{slug!r} is an agent of somebody else; choose another --role")
    if agent.cli_kind != cli:
        raise TakenError(f"{slug!r} is there as a {agent.cli_kind} agent; choose another --role")
    if agent.bridge is None or not BotAccount.objects.filter(agent=agent).exists():
        raise TakenError(f"{slug!r} is there without a bridge or account; delete it in the admin first")
    return Made(bridge_id=agent.bridge.pk, agent_id=agent.pk, slug=slug, cli=cli, token="", is_new=False)


@transaction.atomic(durable=True)
def _store(*, wanted: _Wanted, owner: Person, account: Account) -> Made:
    user, _ = User.objects.get_or_create(
        rocketchat_id=owner.user_id, defaults={"username": owner.username, "display_name": owner.name}
    )
    token = bridge_auth.new_bridge_token()
    slug, cli = account.username, wanted.cli
    bridge = Bridge.objects.create(name=slug, owner=user, token_digest=bridge_auth.digest_of(token))
    agent = Agent.objects.create(
        slug=slug,
        cli_kind=cli,
        bridge=bridge,
        owner=user,
        who_may_ask=wanted.who_may_ask,
        parallel=wanted.parallel,
    )
    accounts.store_account(agent=agent, account=account)
    audit.record(actor=wanted.actor, action="bridge_created", target=slug, owner=owner.username, cli=cli)
    return Made(
        bridge_id=bridge.pk,
        agent_id=agent.pk,
        slug=slug,
        cli=cli,
        token=token,
        is_new=True,
        parallel=wanted.parallel,
    )
