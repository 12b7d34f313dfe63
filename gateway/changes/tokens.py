"""What may be changed of a bridge without touching its token."""

from django.db import IntegrityError, transaction

from gateway import audit
from gateway.changes.errors import BadValueError, ConflictError, GoneError
from gateway.changes.texts import checked
from gateway.models import Bridge


def rename_bridge(*, bridge_id: int, actor: str, name: str) -> bool:
    """Raises ChangeError. The host's own bridge is found by its name, so that stays."""
    name = checked(name, field="name", at_most=100, is_line=True)
    if not name:
        raise BadValueError("name is empty", field="name")
    try:
        with transaction.atomic():
            bridge = Bridge.objects.select_for_update(no_key=True).filter(pk=bridge_id).first()
            if bridge is None:
                raise GoneError(f"there is no bridge {bridge_id}")
            if bridge.name == name:
                return False
            if bridge.owner_id is None:
                raise ConflictError("the host's own bridge keeps its name", field="name")
            Bridge.objects.filter(pk=bridge_id).update(name=name)
            audit.record(actor=actor, action="bridge_renamed", target=bridge.name, name=name)
            return True
    except IntegrityError:
        raise ConflictError(f"there is a bridge {name!r} already", field="name") from None
