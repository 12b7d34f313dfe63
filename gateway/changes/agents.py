"""What may be changed of an agent: its persona, who may ask it, how much it does at a time, whether it is on."""

from collections.abc import Collection
from typing import Any, Final

from django.db import transaction

from gateway import audit
from gateway.changes.errors import BadValueError, GoneError
from gateway.changes.texts import checked
from gateway.invocations import fail_unsent, wake
from gateway.models import Agent, Invocation, PersonaVersion, State, User, WhoMayAsk

MAX_PERSONA: Final = 8_000
MAX_PARALLEL: Final = 32
BUDGET: Final = range(500, 500_001)
TOKEN_PERCENT: Final = range(25, 401)
_PLAIN: Final = ("who_may_ask", "parallel", "prompt_budget", "token_percent", "is_enabled")
_PEOPLE: Final[dict[str, type[User] | type[Agent]]] = {
    "allowed_askers": User,
    "approvers": User,
    "accepts_handover_from": Agent,
}


def set_persona(*, agent_id: int, text: str, actor: str) -> bool:
    """Write the persona; the old one is kept. False when it says that already. Raises ChangeError."""
    text = checked(text, field="persona", at_most=MAX_PERSONA)
    with transaction.atomic():
        agent = _lock(agent_id)
        if agent.persona == text:
            return False
        PersonaVersion.objects.create(agent=agent, text=agent.persona, changed_by=actor[:200])
        Agent.objects.filter(pk=agent.pk).update(persona=text)
        audit.record(actor=actor, action="persona_changed", target=agent.slug, characters=len(text))
        return True


def change_agent(*, agent_id: int, actor: str, values: dict[str, Any]) -> bool:
    """Set plain fields, and lists of ids for the named people and agents. Raises ChangeError; then nothing changed."""
    values = dict(values)
    persona = values.pop("persona", None)
    with transaction.atomic():
        agent = _lock(agent_id)
        told: dict[str, Any] = {}
        for field in _PLAIN:
            if field in values and values[field] != getattr(agent, field):
                told[field] = _checked(field, values[field])
        if told:
            Agent.objects.filter(pk=agent.pk).update(**told)
        for field, model in _PEOPLE.items():
            if field in values and _set_ids(agent, field=field, model=model, ids=values[field]):
                told[field] = sorted(values[field])
        if told:
            audit.record(actor=actor, action="agent_changed", target=agent.slug, **told)
        if told.get("is_enabled") is False:
            _fail_what_waits(agent)
        elif "parallel" in told or "is_enabled" in told:
            wake(agent_id=agent.pk)
        is_new_persona = persona is not None and set_persona(agent_id=agent_id, text=persona, actor=actor)
        return bool(told) or is_new_persona


def _lock(agent_id: int) -> Agent:
    agent = Agent.objects.select_for_update(no_key=True).filter(pk=agent_id).first()
    if agent is None:
        raise GoneError(f"there is no agent {agent_id}")
    return agent


def _checked(field: str, value: Any) -> Any:
    if field == "who_may_ask" and value not in WhoMayAsk.values:
        raise BadValueError(f"who_may_ask is one of {', '.join(WhoMayAsk.values)}", field=field)
    if field == "parallel" and not 1 <= value <= MAX_PARALLEL:
        raise BadValueError(f"parallel is from 1 to {MAX_PARALLEL}", field=field)
    if field == "prompt_budget" and value is not None and value not in BUDGET:
        raise BadValueError(f"prompt_budget is from {BUDGET[0]} to {BUDGET[-1]}, or empty", field=field)
    if field == "token_percent" and value not in TOKEN_PERCENT:
        raise BadValueError(f"token_percent is from {TOKEN_PERCENT[0]} to {TOKEN_PERCENT[-1]}", field=field)
    return value


def _set_ids(agent: Agent, *, field: str, model: type[User] | type[Agent], ids: Collection[int]) -> bool:
    wanted = set(ids)
    related = getattr(agent, field)
    if wanted == set(related.values_list("pk", flat=True)):
        return False
    missing = wanted - set(model.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    if missing:
        raise BadValueError(f"{field} names {model.__name__.lower()} {min(missing)}, which is not there", field=field)
    related.set(wanted)
    return True


def _fail_what_waits(agent: Agent) -> None:
    rows = Invocation.objects.filter(agent=agent, state__in=(State.QUEUED, State.WAITING, State.COMPOSED))
    for pk in rows.values_list("pk", flat=True):
        fail_unsent(invocation_id=pk, reason="agent_disabled")
