"""What must be done before the programs start: migrations and static files, in one Python start.

`is_prepared` answers without importing Django, so that a second start of an unchanged checkout skips all of it.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
_STAMP = "prepared"
_DATABASE_TIMEOUT_S = 60
_MIGRATIONS = ("gateway/migrations", "composer/migrations", "runtime/migrations")


def is_prepared(state_path: Path) -> bool:
    stamp = state_path / _STAMP
    return stamp.exists() and stamp.read_text(encoding="utf-8") == fingerprint()


def forget(state_path: Path) -> None:
    """After the database was made anew."""
    (state_path / _STAMP).unlink(missing_ok=True)


def fingerprint() -> str:
    """Of everything from which migrations and static files come: ours, and the locked packages."""
    files = sorted(
        path
        for folder in (*_MIGRATIONS, "requirements", "admin_ui/static", "gateway/static", "bridge_client/src")
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )
    digest = hashlib.sha256(sys.version.encode())
    for path in (*files, CHECKOUT / "nexus_project/settings.py"):
        digest.update(f"{path.relative_to(CHECKOUT)} ".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    # Django is imported here only: whoever asks `is_prepared` does not pay for it.
    import django
    from django.conf import settings
    from django.core.management import call_command

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
    django.setup()
    _wait_for_database()
    # Taken first: what changes while we work must be done again next time.
    prepared = fingerprint()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("build_client", stdout=sys.stderr)
    stamp = Path(settings.NEXUS_STATE_DIR) / _STAMP
    stamp.write_text(prepared, encoding="utf-8")


def _wait_for_database() -> None:
    """A container may be up before its database is."""
    from django.db import OperationalError, connection

    deadline = time.monotonic() + _DATABASE_TIMEOUT_S
    while True:
        try:
            connection.ensure_connection()
            return
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


if __name__ == "__main__":
    main()
