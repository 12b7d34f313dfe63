"""What every server test shares: a database whose tests may clean up after themselves."""

import pytest
from django.db import connection, transaction
from django.db.backends.postgresql.operations import DatabaseOperations

from composer import summarizer
from composer.memory import recall, remember, working
from tests.server.chat_world import Chat, devchat_process

SAME_FOR_ALL = {"django_content_type", "auth_permission"}
"""Django writes these anew after each flush, which takes longer than most tests."""


@pytest.fixture(scope="session", autouse=True)
def a_flush_deletes_rows():
    """Instead of truncating some sixty tables, which takes a second and deadlocks with a gateway that is still writing.

    Without triggers: the audit log refuses to be emptied everywhere but here.
    """

    def flush(_operations, _statements):
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            for name in sorted(set(names) - SAME_FOR_ALL):
                cursor.execute(f'DELETE FROM "{name}"')  # noqa: S608 - names of our own tables

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "execute_sql_flush", flush)
        yield


@pytest.fixture(autouse=True)
def nobody_is_left_alone():
    """What an earlier test found out about neighbours that were down is forgotten."""
    for neighbour in (recall, remember, summarizer, working):
        neighbour._breaker.succeeded()


@pytest.fixture(scope="module")
def devchat_url(tmp_path_factory):
    with devchat_process(tmp_path_factory.mktemp("devchat")) as url:
        yield url


@pytest.fixture
def chat(devchat_url, db):
    return Chat(devchat_url)
