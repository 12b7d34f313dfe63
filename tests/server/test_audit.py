"""Does the audit log only grow, and does its chain tell when somebody changed it?"""

import pytest
from django.db import InternalError, ProgrammingError, connection, transaction

from gateway import audit
from gateway.models import AuditEntry, AuditSeal

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def test_entries_cannot_be_changed_or_deleted():
    audit.record(actor="alice", action="bridge.create", target="claude-alice")

    for act in (lambda: AuditEntry.objects.update(actor="bob"), lambda: AuditEntry.objects.all().delete()):
        with pytest.raises((ProgrammingError, InternalError)), transaction.atomic():
            act()

    assert AuditEntry.objects.get().actor == "alice"


def test_sealed_entries_verify_in_order():
    for number in range(5):
        audit.record(actor="alice", action="test", number=number)
    first = audit.seal()
    audit.record(actor="bob", action="test")
    second = audit.seal()

    assert (first, second, audit.seal()) == (5, 1, 0)
    assert AuditSeal.objects.count() == 2
    assert audit.verify() is None


def test_a_changed_entry_breaks_the_chain():
    audit.record(actor="alice", action="test")
    audit.seal()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
        cursor.execute("UPDATE audit_log SET actor = 'mallory'")
        cursor.execute("ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only")

    broken = audit.verify()

    assert broken is not None
    assert broken.seal_id == AuditSeal.objects.get().pk
