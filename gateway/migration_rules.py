"""Which migrations would break the code of the release before, which still runs while they are applied, or block it?

During an upgrade the new migrations run first, then process after process is replaced. Rules only; `check_migrations` asks them.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.contrib.postgres.operations import (
    AddConstraintNotValid,
    AddIndexConcurrently,
    RemoveIndexConcurrently,
)
from django.db import connection, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

LATER: Final = "let a release pass that no longer uses it, then remove it"
_NOT_SEEN: Final = (migrations.RemoveField, migrations.DeleteModel)
_RENAMED: Final = (migrations.RenameField, migrations.RenameModel, migrations.AlterModelTable)
_SQL: Final = (
    (r"\bDROP\s+(TABLE|COLUMN)\b", f"drops what the running code may use; {LATER}"),
    (r"\bRENAME\b", "renames what the running code uses; add the new one beside it instead"),
    (
        r"\bALTER\s+(COLUMN\s+)?\S+\s+(SET\s+DATA\s+)?TYPE\b",
        "rewrites the table under a lock; add another column instead",
    ),
    (r"\bSET\s+NOT\s+NULL\b", "refuses rows of the running code; add a check NOT VALID first"),
    (
        r"\bCREATE\s+(UNIQUE\s+)?INDEX\s+(?!CONCURRENTLY)",
        "blocks writers while it is built; CREATE INDEX CONCURRENTLY, with atomic = False",
    ),
    (r"\b(LOCK\s+TABLE|TRUNCATE)\b", "locks out the running code"),
)


def unsafe(migration: migrations.Migration, before: ProjectState) -> Iterator[str]:
    """A sentence for each operation that is not safe. `safe_because = "…"` in the migration is a person's word for it."""
    if getattr(migration, "safe_because", ""):
        return
    state, new = before.clone(), set()
    for operation in _flat(migration.operations):
        if isinstance(operation, migrations.CreateModel):
            new.add(operation.name_lower)
        elif _model_of(operation) not in new:
            for text in _problems(operation, state, migration.app_label):
                yield f"{migration.app_label}.{migration.name}: {operation.describe()}: {text}"
        operation.state_forwards(migration.app_label, state)


def _flat(operations: Sequence[Operation]) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, migrations.SeparateDatabaseAndState):
            yield from _flat(list(operation.database_operations))
        else:
            yield operation


def _model_of(operation: Operation) -> str:
    return str(getattr(operation, "model_name", getattr(operation, "name", ""))).lower()


def _problems(operation: Operation, state: ProjectState, app: str) -> Iterator[str]:
    match operation:
        case _ if isinstance(operation, _NOT_SEEN):
            yield f"the running code still reads and writes it; {LATER}"
        case _ if isinstance(operation, _RENAMED):
            yield "the running code knows the old name only; add the new one beside it, and remove the old one a release later"
        case migrations.AddField(field=field):
            yield from _added(field)
        case migrations.AlterField():
            yield from _altered(operation, state, app)
        case AddIndexConcurrently() | RemoveIndexConcurrently() | AddConstraintNotValid():
            return
        case migrations.AddIndex():
            yield "blocks writers while it is built; use AddIndexConcurrently with atomic = False"
        case migrations.AddConstraint():
            yield "refuses rows of the running code, and reads the whole table under a lock; use AddConstraintNotValid, and ValidateConstraint a release later"
        case migrations.RunSQL():
            yield from _sql(operation.sql)
        case migrations.RunPython():
            yield "what it does can't be seen from here; say why it is safe in safe_because"


def _added(field: "models.Field[Any, Any]") -> Iterator[str]:
    has_column = not field.many_to_many
    has_value = field.null or field.db_default is not models.NOT_PROVIDED or getattr(field, "generated", False)
    if has_column and not has_value:
        yield "the running code's INSERT does not name it, and it may not be empty; give it a db_default, or null=True"
    if has_column and (field.unique or _is_indexed(field)):
        yield "its index blocks writers while it is built; add it with AddIndexConcurrently"


def _altered(operation: migrations.AlterField, state: ProjectState, app: str) -> Iterator[str]:
    old = state.models[app, operation.model_name_lower].fields[operation.name]
    new = operation.field
    if old.null and not new.null:
        yield "refuses what the running code may write; add a check NOT VALID first"
    if old.db_type(connection) != new.db_type(connection) and not _is_wider(old, new):
        yield "rewrites the table under a lock, or refuses what the running code writes; add another column instead"
    if (new.unique and not old.unique) or (_is_indexed(new) and not _is_indexed(old)):
        yield "its index blocks writers while it is built; add it with AddIndexConcurrently"


def _is_indexed(field: "models.Field[Any, Any]") -> bool:
    return bool(getattr(field, "db_index", False))


def _is_wider(old: "models.Field[Any, Any]", new: "models.Field[Any, Any]") -> bool:
    if not isinstance(old, models.CharField):
        return False
    if isinstance(new, models.TextField):
        return True
    return isinstance(new, models.CharField) and (new.max_length or 10**9) >= (old.max_length or 0)


def _sql(statement: Any) -> Iterator[str]:
    text = re.sub(r"--[^\n]*", "", statement if isinstance(statement, str) else " ".join(map(str, statement)))
    created = set(re.findall(r"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?\"?(\w+)", text, re.IGNORECASE))
    for pattern, problem in _SQL:
        for found in re.finditer(pattern, text, re.IGNORECASE):
            on = re.match(r"[^;]*?\bON\s+\"?(\w+)", text[found.start() :], re.IGNORECASE)
            if on is None or on.group(1) not in created:
                yield problem
                break
