"""What every server test shares: a database whose tests may clean up after themselves."""

import pytest
from django.db import connection


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Transactional tests truncate all tables afterwards; the audit log refuses that everywhere but here."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER IF EXISTS audit_log_no_truncate ON audit_log")
        cursor.execute("DROP TRIGGER IF EXISTS audit_seals_no_truncate ON audit_seals")
