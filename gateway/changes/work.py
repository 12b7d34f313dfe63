"""Stopping and repeating somebody's question from the site or the API."""

from django.db import transaction

from gateway import audit
from gateway.changes.errors import ConflictError, GoneError
from gateway.invocations import open_again, request_cancel
from gateway.models import FINAL, Invocation, Purpose


def stop(*, invocation_id: int, actor: str) -> None:
    """As `!stop` does. Raises ChangeError when there is nothing to stop."""
    with transaction.atomic():
        row = _row(invocation_id)
        if row.state in FINAL:
            raise ConflictError(f"invocation {invocation_id} is {row.state} already")
        if request_cancel(invocation_id=invocation_id, reason="stopped", detail="by the operator"):
            audit.record(actor=actor, action="invocation_stopped", target=str(invocation_id), agent=row.agent.slug)


def ask_again(*, invocation_id: int, actor: str) -> Invocation:
    """As `!retry` does: a new row. Raises ChangeError while the old one goes on, or was asked again already."""
    with transaction.atomic():
        row = _row(invocation_id)
        if row.purpose != Purpose.ANSWER:
            raise ConflictError(f"invocation {invocation_id} was a summary that nobody asked; it is made by itself")
        if row.state not in FINAL:
            raise ConflictError(f"invocation {invocation_id} is still {row.state}; stop it first")
        is_askable = row.asker_agent_id is None and not row.retries.exists()
        again = open_again(row=row) if is_askable else None
        if again is None:
            raise ConflictError(f"invocation {invocation_id} was asked again already, or was a hand-over")
        audit.record(actor=actor, action="invocation_retried", target=str(invocation_id), new=again.pk)
        return again


def _row(invocation_id: int) -> Invocation:
    rows = Invocation.objects.select_related("agent", "message", "room", "root_asker")
    row = rows.filter(pk=invocation_id).first()
    if row is None:
        raise GoneError(f"there is no invocation {invocation_id}")
    return row
