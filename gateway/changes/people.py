"""What may be changed of people: their role, and that all they have written is forgotten."""

from typing import Final

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from composer.memory import forgetting
from gateway import audit, pipeline
from gateway.changes.errors import BadValueError, GoneError
from gateway.models import Message, User

ROLES: Final = ("user", "admin")


def change_user(*, user_id: int, actor: str, role: str) -> bool:
    """Raises ChangeError."""
    if role not in ROLES:
        raise BadValueError(f"role is one of {', '.join(ROLES)}", field="role")
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).filter(pk=user_id).first()
        if user is None:
            raise GoneError(f"there is no user {user_id}")
        if user.role == role:
            return False
        User.objects.filter(pk=user.pk).update(role=role)
        audit.record(actor=actor, action="user_role_changed", target=user.username, role=role)
        return True


def forget_person(*, user_id: int, actor: str) -> int:
    """As his own `!forget me yes`: of how many messages. They go in the background. Raises ChangeError."""
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).filter(pk=user_id).first()
        if user is None:
            raise GoneError(f"there is no user {user_id}")
        his = Message.objects.filter(user=user, deleted_at=None)
        count, last = his.count(), his.aggregate(last=Max("pk"))["last"] or 0
        forgetting.ask(user=user, until=timezone.now(), last_message_id=last)
        audit.record(actor=actor, action="person_forgotten", target=user.rocketchat_id, messages=count)
        pipeline.remember()
        return count
