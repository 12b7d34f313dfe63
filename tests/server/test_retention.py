"""Does each row live as long as the settings say, and does nothing go that an invariant stands on?"""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from composer.models import Fact, Landmark, Prompt
from gateway import audit, invocations, retention
from gateway.models import AuditEntry, Grant, Invocation, JoinCode, Message, Notice, SetAside
from tests.server import people

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


def old(model, *, days, column="created_at"):
    """As if all its rows had been made so long ago."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {model._meta.db_table} SET {column} = {column} - make_interval(days => %s)", [days])  # noqa: S608


@pytest.fixture
def question():
    bob = people.make_user("bob")
    return people.ask(people.make_room(members=(bob,)), bob, people.make_agent(bridge=people.make_bridge()))


def end(row):
    with transaction.atomic():
        invocations.request_cancel(invocation_id=row.pk, reason="stop")
    Invocation.objects.filter(pk=row.pk).update(ended_at=timezone.now() - timedelta(days=400))


def dry_run():
    out = io.StringIO()
    call_command("retention", "--dry-run", "--json", stdout=out)
    return {table: one["rows"] for table, one in json.loads(out.getvalue())["tables"].items()}


def test_a_dry_run_counts_and_deletes_nothing(settings, question):
    SetAside.objects.create(rc_id="x", reason="NUL")
    old(SetAside, days=91)

    assert dry_run()["set_aside"] == 1
    assert dry_run()["set_aside"] == 1
    settings.NEXUS_KEEP_SET_ASIDE_DAYS = 92
    assert dry_run()["set_aside"] == 0


def test_all_of_it_goes_however_much_it_is(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(5):
        SetAside.objects.create(rc_id=f"x{number}", reason="NUL")
    old(SetAside, days=91)

    call_command("retention", stdout=io.StringIO())

    assert SetAside.objects.count() == 0


def test_what_says_itself_when_it_ends_goes_then(question):
    now = timezone.now()
    Fact.objects.create(scope="global", key="over", value=1, confidence=1, expires_at=now - timedelta(seconds=1))
    Fact.objects.create(scope="global", key="stays", value=1, confidence=1)
    for tool, until in (("over", now - timedelta(seconds=1)), ("soon", now + timedelta(hours=1)), ("always", None)):
        Grant.objects.create(
            agent=question.agent, room=question.room, tool=tool, until=until, granted_by=question.root_asker
        )
    JoinCode.objects.create(bridge=question.agent.bridge, digest="a" * 64, expires_at=now - timedelta(days=29))

    retention.delete_due()

    assert list(Fact.objects.values_list("key", flat=True)) == ["stays"]
    assert sorted(Grant.objects.values_list("tool", flat=True)) == ["always", "soon"]
    assert JoinCode.objects.count() == 1


def test_prompts_of_open_questions_stay(question):
    Prompt.objects.create(invocation=question, fence=1, text="why?", sections=[], token_count=1, budget=1)

    assert retention.due()["prompts"] == 0
    end(question)
    assert retention.due()["prompts"] == 1


def test_messages_keep_their_words_unless_somebody_sets_an_end(question):
    old(Message, days=3_000, column="ts")

    assert retention.due()["messages"] == 0
    assert retention.delete_due() == {}


def test_an_old_message_loses_its_words_and_all_that_was_made_of_them_but_not_its_place(settings, question):
    settings.NEXUS_KEEP_MESSAGES_DAYS = 365
    end(question)
    pinned = people.say(question.room, question.root_asker, "we use Postgres")
    open_one = people.ask(question.room, question.root_asker, people.make_agent("codex-bob"))
    Message.objects.filter(pk=question.message_id).update(remembered_at=timezone.now())
    Fact.objects.create(scope="global", key="ci", value="red", confidence=1, source_message=question.message)
    old(Message, days=366, column="ts")
    fresh = people.say(question.room, question.root_asker, "new")
    Landmark.objects.create(message=pinned, kind="decision")

    assert dry_run()["messages"] == 1
    retention.delete_due()

    words = dict(Message.objects.values_list("pk", "text"))
    assert words[question.message_id] == ""
    assert all(words[pk] for pk in (pinned.pk, open_one.message_id, fresh.pk))
    assert not Fact.objects.exists()
    assert Message.objects.get(pk=question.message_id).remembered_at is None
    assert Invocation.objects.filter(pk=question.pk).exists()


def test_the_audit_log_outlives_everything(settings):
    settings.NEXUS_KEEP_MESSAGES_DAYS = 1
    for number in range(3):
        audit.record(actor="alice", action="test", number=number)
    audit.seal()
    Notice.objects.all().delete()

    call_command("retention", stdout=io.StringIO())

    assert AuditEntry.objects.count() == 3
    assert audit.verify() is None
