"""What is a backup file? A tar: each table's rows in compressed parts, files by their SHA-256, at last the manifest.

It is written and read as a stream, encrypted or not, so neither needs room for a second copy.
"""

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from gateway.backup.sealing import SealBrokenError, SealingWriter, UnsealingReader, is_sealed

FORMAT: Final = 1
PART_BYTES: Final = 4 * 1024 * 1024
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
MAX_PART_BYTES: Final = 64 * 1024 * 1024
_STEP_BYTES: Final = 1024 * 1024


class BackupError(Exception):
    """A backup could not be made or used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    rows: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """`migrations` are those applied; `field_key` is a fingerprint; `missing` are files that were not on disk."""

    version: str
    made_at: str
    server: str
    migrations: list[tuple[str, str]]
    field_key: str
    tables: dict[str, Table] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    audit_seal: str = ""

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    def as_json(self) -> bytes:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["tables"] = {
            name: {"columns": list(table.columns), "rows": table.rows, "sha256": table.sha256}
            for name, table in self.tables.items()
        }
        return json.dumps({"format": FORMAT, **values}, indent=1).encode()


class Writer:
    """Order of calls: `table` and `file` in any order, at last `manifest`."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def table(self, name: str, blocks: Iterator[bytes]) -> str:
        """Store a table's rows as they come; returns their SHA-256."""
        digest, waiting, number = hashlib.sha256(), bytearray(), 0
        for block in blocks:
            digest.update(block)
            waiting += block
            if len(waiting) >= PART_BYTES:
                self._put(f"tables/{name}/{number:08d}", gzip.compress(bytes(waiting), 1, mtime=0))
                waiting.clear()
                number += 1
        self._put(f"tables/{name}/{number:08d}", gzip.compress(bytes(waiting), 1, mtime=0))
        return digest.hexdigest()

    def file(self, sha256: str, source: BinaryIO, *, size: int) -> None:
        info = tarfile.TarInfo(f"files/{sha256}")
        info.size = size
        self._tar.addfile(info, source)

    def manifest(self, manifest: Manifest) -> None:
        self._put(MANIFEST, manifest.as_json())

    def _put(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        self._tar.addfile(info, io.BytesIO(content))


@contextmanager
def writing(out: BinaryIO, *, key: str) -> Iterator[Writer]:
    """With a key it is encrypted. An error on the way leaves a file that can't be read, as it should be."""
    sealing = SealingWriter(out, key=key) if key else None
    target = cast("BinaryIO", sealing) if sealing is not None else out
    with tarfile.open(fileobj=target, mode="w|") as tar:
        yield Writer(tar)
    if sealing is not None:
        sealing.finish()


@dataclass(frozen=True, slots=True)
class Member:
    """One part of the archive at `path`: `kind` is tables, files or the manifest's name."""

    path: Path
    kind: str
    name: str
    content: BinaryIO
    size: int


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A sentence for every way in which a file may be bad."""
    try:
        yield
    except SealBrokenError:
        raise BackupError(
            f"{path} does not open with NEXUS_BACKUP_KEY: it is another key's, or the file was cut or changed"
        ) from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BackupError(f"{path} is damaged or no backup of Nexus ({error}); take another one") from error
    except OSError as error:
        raise BackupError(f"{path} can't be read: {error.strerror or error}") from error


def read(path: Path, *, key: str) -> Iterator[Member]:
    """The parts in order, each to be read before the next. Raises BackupError."""
    with (
        _told(path),
        path.open("rb") as source,
        tarfile.open(fileobj=_opened(source, key=key), mode="r|") as tar,
    ):
        for info in tar:
            content = tar.extractfile(info)
            if content is None:
                raise BackupError(f"{path} has a part that is no file: {info.name[:100]}; it was not made by Nexus")
            kind, _, rest = info.name.partition("/")
            yield Member(path, kind, rest.partition("/")[0], cast("BinaryIO", content), info.size)


def _opened(source: BinaryIO, *, key: str) -> BinaryIO:
    is_encrypted = is_sealed(source.read(32))
    source.seek(0)
    if not is_encrypted:
        return source
    if not key:
        raise BackupError("this backup is encrypted; set NEXUS_BACKUP_KEY to the key it was made with")
    return cast("BinaryIO", UnsealingReader(source, key=key))


def rows_of(member: Member) -> bytes:
    """The rows of one part of a table."""
    if member.size > MAX_PART_BYTES:
        raise BackupError(f"a part of {member.name} is too large for a backup of Nexus")
    with _told(member.path), gzip.GzipFile(fileobj=member.content) as packed:
        plain = packed.read(MAX_PART_BYTES + 1)
    if len(plain) > MAX_PART_BYTES:
        raise BackupError(f"a part of {member.name} is too large for a backup of Nexus")
    return plain


def steps_of(member: Member) -> Iterator[bytes]:
    while step := _step(member):
        yield step


def _step(member: Member) -> bytes:
    with _told(member.path):
        return member.content.read(_STEP_BYTES)


def verify(path: Path, *, key: str) -> Manifest:
    """Read all of it and compare every hash with the manifest. Raises BackupError."""
    digests: dict[str, Any] = {}
    files: list[str] = []
    manifest: Manifest | None = None
    for member in read(path, key=key):
        if member.kind == "tables":
            digests.setdefault(member.name, hashlib.sha256()).update(rows_of(member))
        elif member.kind == "files":
            _check_file(member)
            files.append(member.name)
        elif member.kind == MANIFEST and member.size <= MAX_MANIFEST_BYTES:
            manifest = parse(b"".join(steps_of(member)))
    if manifest is None:
        raise BackupError(f"{path} has no manifest: it was not finished, or is no backup of Nexus; take another one")
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    wrong = [name for name, table in manifest.tables.items() if found.get(name) != table.sha256]
    if wrong or sorted(files) != sorted(manifest.files) or set(found) != set(manifest.tables):
        raise BackupError(
            f"{path} is damaged: {', '.join(wrong) or 'its parts'} differ from its manifest; take another one"
        )
    return manifest


def _check_file(member: Member) -> None:
    digest = hashlib.sha256()
    for step in steps_of(member):
        digest.update(step)
    if digest.hexdigest() != member.name:
        raise BackupError(f"the backup is damaged: the file {member.name} has another content; take another one")


def parse(content: bytes) -> Manifest:
    try:
        values = json.loads(content)
        if values.pop("format") != FORMAT:
            raise BackupError("this backup was made by a newer Nexus; restore it with that version")
        values["tables"] = {
            name: Table(tuple(one["columns"]), int(one["rows"]), str(one["sha256"]))
            for name, one in values["tables"].items()
        }
        values["migrations"] = [(str(app), str(name)) for app, name in values["migrations"]]
        return Manifest(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError("the manifest can't be read; take another backup") from error
