"""A whole Nexus in one file, and back. docs/backup.md says what is in it and what is not."""

from gateway.backup.archive import BackupError, Manifest
from gateway.backup.making import Made, make
from gateway.backup.restoring import check, restore

__all__ = ["BackupError", "Made", "Manifest", "check", "make", "restore"]
