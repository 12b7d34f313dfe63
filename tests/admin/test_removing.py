"""Can a person be forgotten and a project removed, by operators only, after a question and with an audit entry?"""

import threading

import pytest
from django.db import connection, transaction

from composer.memory import forgetting
from composer.models import Fact, Forgetting
from gateway import changes
from gateway.models import AuditEntry, Message, Project, Room, User
from tests.admin import rows
from tests.admin.asking import path, send
from tests.server import people

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def it():
    return rows.everything()


def entries(action):
    return list(AuditEntry.objects.filter(action=action).values_list("actor", "target"))


def test_a_person_is_forgotten_from_the_site_after_a_question(operator, it):
    Fact.objects.create(scope="profile:uid-bob", key="editor", value="vim")
    page = operator.get(f"/admin/gateway/user/{it.bob.pk}/change/").content.decode()
    asked = operator.get(f"/admin/users/{it.bob.pk}/forget/").content.decode()

    assert f"/admin/users/{it.bob.pk}/forget/" in page
    assert "1 message in every room" in asked
    assert not Forgetting.objects.exists()

    done = operator.post(f"/admin/users/{it.bob.pk}/forget/", follow=True).content.decode()
    forgetting.work()

    assert "bob is being forgotten: 1 message, within minutes." in done
    assert Message.objects.get(pk=it.row.message_id).text == ""
    assert not Fact.objects.filter(scope="profile:uid-bob").exists()
    assert entries("person_forgotten") == [("site:olga", "uid-bob")]


def test_a_person_is_forgotten_over_the_api_and_what_comes_later_stays(api, it):
    answer = send(api, "POST", f"users/{it.bob.pk}/forget")
    later = people.say(it.room, it.bob, "I am back")
    Message.objects.filter(pk=later.pk).update(ts=rows.LATER)
    forgetting.work()

    assert (answer.status_code, answer.json()) == (202, {"messages": 1})
    assert Message.objects.get(pk=it.row.message_id).text == ""
    assert Message.objects.get(pk=later.pk).text == "I am back"
    assert entries("person_forgotten") == [("api:admin-token", "uid-bob")]
    assert send(api, "POST", "users/999999999/forget").status_code == 404


def test_who_may_only_look_forgets_nobody_and_removes_nothing(onlooker, it):
    page = onlooker.get(f"/admin/gateway/user/{it.bob.pk}/change/").content.decode()
    found = [
        onlooker.get(f"/admin/users/{it.bob.pk}/forget/").status_code,
        onlooker.post(f"/admin/users/{it.bob.pk}/forget/").status_code,
        onlooker.post(f"/admin/gateway/project/{it.project.pk}/delete/", {"post": "yes"}).status_code,
        send(onlooker, "POST", f"users/{it.bob.pk}/forget").status_code,
        send(onlooker, "DELETE", f"projects/{it.project.pk}").status_code,
    ]

    assert "Forget this person" not in page
    assert found == [403] * 5
    assert not Forgetting.objects.exists()


@pytest.mark.parametrize("door", ["api", "site"])
def test_a_project_that_rooms_belong_to_stays_and_a_sentence_names_them(api, operator, it, door):
    if door == "api":
        answer = api.delete(path(f"projects/{it.project.pk}"))
        assert answer.status_code == 409
        told = answer.json()["error"]["message"]
    else:
        page = operator.post(f"/admin/gateway/project/{it.project.pk}/delete/", {"post": "yes"}, follow=True)
        told = page.content.decode()
        assert "The project stays" in told

    assert "rooms belong to project shop: backend; give them another project, or none" in told
    assert Project.objects.filter(pk=it.project.pk).exists()
    assert entries("project_removed") == []


@pytest.mark.parametrize(("door", "actor"), [("api", "api:admin-token"), ("site", "site:olga")])
def test_a_project_without_rooms_is_removed_with_what_is_known_of_it(api, operator, it, door, actor):
    Room.objects.update(project=None)
    it.project.managers.add(it.bob)
    Fact.objects.create(scope=f"project:{it.project.pk}", key="deploy day", value="Friday")

    if door == "api":
        assert api.delete(path(f"projects/{it.project.pk}")).status_code == 204
        assert api.delete(path(f"projects/{it.project.pk}")).status_code == 404
    else:
        asked = operator.get(f"/admin/gateway/project/{it.project.pk}/delete/")
        assert (asked.status_code, Project.objects.count()) == (200, 1)
        operator.post(f"/admin/gateway/project/{it.project.pk}/delete/", {"post": "yes"})

    assert not Project.objects.exists()
    assert not Fact.objects.filter(scope__startswith="project:").exists()
    assert User.objects.filter(pk=it.bob.pk).exists()
    assert entries("project_removed") == [(actor, "shop")]


def test_who_has_read_an_older_project_does_not_remove_it(api, it):
    Room.objects.update(project=None)

    stale = api.delete(path(f"projects/{it.project.pk}"), headers={"If-Match": '"something older"'})

    assert stale.status_code == 412
    assert Project.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_project_that_is_just_being_given_a_room_is_not_removed():
    shop, room = Project.objects.create(slug="shop", title="Shop"), people.make_room("backend")
    refused: list[str] = []

    def remove():
        try:
            changes.remove_project(project_id=shop.pk, actor="test")
        except changes.ConflictError as error:
            refused.append(str(error))
        finally:
            connection.close()

    remover = threading.Thread(target=remove)
    with transaction.atomic():
        changes.change_room(room_id=room.pk, actor="test", values={"project": shop.pk})
        remover.start()
        _until_waiting(remover)
    remover.join(20)

    assert refused == ["rooms belong to project shop: backend; give them another project, or none"]
    assert Room.objects.get(pk=room.pk).project == shop


def _until_waiting(thread):
    """Until it waits for a lock of the database, or has ended without."""
    while thread.is_alive():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the same otherwise
            cursor.execute(WAITING)
            if cursor.fetchone()[0]:
                return
        thread.join(0.02)
