"""Is a migration that would break the running code found, and is a safe one let through?"""

from typing import Any

import pytest
from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently
from django.db import migrations, models
from django.db.migrations.state import ModelState, ProjectState

from gateway.migration_rules import unsafe

INDEX = models.Index(fields=["name"], name="thing_name")
CHECK = models.CheckConstraint(condition=models.Q(name="x"), name="thing_check")

UNSAFE = [
    migrations.RemoveField("thing", "name"),
    migrations.DeleteModel("thing"),
    migrations.RenameField("thing", "name", "title"),
    migrations.RenameModel("thing", "object"),
    migrations.AlterModelTable("thing", "objects"),
    migrations.AddField("thing", "size", models.IntegerField(default=0)),
    migrations.AddField("thing", "code", models.CharField(max_length=5, null=True, unique=True)),
    migrations.AlterField("thing", "note", models.CharField(max_length=50)),
    migrations.AlterField("thing", "name", models.CharField(max_length=5)),
    migrations.AlterField("thing", "name", models.IntegerField()),
    migrations.AddIndex("thing", INDEX),
    migrations.AddConstraint("thing", CHECK),
    migrations.RunPython(migrations.RunPython.noop),
    migrations.RunSQL("ALTER TABLE things DROP COLUMN name"),
    migrations.RunSQL("ALTER TABLE things RENAME TO objects"),
    migrations.RunSQL("ALTER TABLE things ALTER COLUMN name TYPE text"),
    migrations.RunSQL("alter table things alter name set not null"),
    migrations.RunSQL(["CREATE INDEX things_name ON things (name)"]),
    migrations.RunSQL("LOCK TABLE things"),
    migrations.SeparateDatabaseAndState(database_operations=[migrations.RunSQL("DROP TABLE things")]),
]
SAFE = [
    migrations.CreateModel("other", [("id", models.BigAutoField(primary_key=True))]),
    migrations.AddField("thing", "size", models.IntegerField(default=0, db_default=0)),
    migrations.AddField("thing", "size", models.IntegerField(null=True)),
    migrations.AlterField("thing", "name", models.CharField(max_length=500)),
    migrations.AlterField("thing", "name", models.TextField()),
    AddIndexConcurrently("thing", INDEX),
    AddConstraintNotValid("thing", CHECK),
    migrations.RunSQL("CREATE INDEX CONCURRENTLY things_name ON things (name)"),
    migrations.RunSQL("CREATE TABLE others (id int); CREATE INDEX others_id ON others (id)"),
    migrations.RunSQL("-- DROP TABLE things\nSELECT 1"),
    migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("thing", "name")]),
]


def things() -> ProjectState:
    state = ProjectState()
    fields: list[tuple[str, models.Field[Any, Any]]] = [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=50)),
        ("note", models.CharField(max_length=50, null=True)),
    ]
    state.add_model(ModelState("gateway", "Thing", fields, options={"db_table": "things"}))
    return state


def migration(*operations, **values):
    made = type("Migration", (migrations.Migration,), {"operations": list(operations), **values})
    return made("0099_test", "gateway")


@pytest.mark.parametrize("operation", UNSAFE, ids=lambda one: one.describe()[:60])
def test_what_the_running_code_could_not_live_with_is_told(operation):
    (problem,) = unsafe(migration(operation), things())

    assert problem.startswith("gateway.0099_test: ")


@pytest.mark.parametrize("operation", SAFE, ids=lambda one: one.describe()[:60])
def test_what_the_running_code_does_not_notice_is_let_through(operation):
    assert list(unsafe(migration(operation), things())) == []


def test_a_new_table_may_be_given_anything():
    made = migrations.CreateModel("other", [("id", models.BigAutoField(primary_key=True))])

    assert list(unsafe(migration(made, migrations.AddIndex("other", INDEX)), things())) == []


def test_a_person_may_say_why_it_is_safe_all_the_same():
    assert list(unsafe(migration(UNSAFE[0], safe_because="no release has used it"), things())) == []
