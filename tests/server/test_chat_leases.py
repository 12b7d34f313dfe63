"""Who holds which bot account, and what becomes of a process's accounts when it dies?"""

import subprocess
import sys
from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.chat import leases
from gateway.models import BotAccount, HostLease

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def accounts(db):
    for name in ("one", "two", "three"):
        BotAccount.objects.create(rocketchat_id=f"uid-{name}", username=name, access_token=b"sealed")


def _names(held):
    return sorted(one.username for one in held)


def test_a_process_alone_holds_everything_that_works():
    BotAccount.objects.filter(username="one").update(is_broken=True)
    BotAccount.objects.filter(username="two").update(access_token=b"")

    assert _names(leases.hold(owner="a")) == ["three"]


def test_a_second_process_gets_its_share_and_nothing_is_held_twice():
    leases.hold(owner="a")

    assert leases.hold(owner="b") == []
    first, second = leases.hold(owner="a"), leases.hold(owner="b")

    assert len(first) == 2
    assert len(second) == 1
    assert not set(_names(first)) & set(_names(second))


def test_what_a_silent_process_held_is_free_when_its_lease_ends():
    leases.hold(owner="a")
    BotAccount.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    HostLease.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    assert len(leases.hold(owner="b")) == 3


def test_what_a_process_gives_back_is_free_at_once():
    leases.hold(owner="a")

    leases.let_go(owner="a")

    assert len(leases.hold(owner="b")) == 3


def test_the_accounts_of_a_process_that_died_here_are_free_at_once():
    code = "import django, os; os.environ['DJANGO_SETTINGS_MODULE']='nexus_project.settings'; django.setup();"
    code += "from gateway.chat import leases; print(leases.new_owner())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    leases.hold(owner=dead)

    assert len(leases.hold(owner=leases.new_owner())) == 3


def test_a_living_process_is_not_taken_for_dead():
    alive = leases.new_owner()
    leases.hold(owner=alive)

    # Of this machine, but no process of that number and start: it finds ours alive, and is found dead by us.
    assert leases.hold(owner=f"{alive.partition('.')[0]}.999999999.0") == []
    assert leases.hold(owner="elsewhere.1.0") == []
    assert len(leases.hold(owner=alive)) == 2


def test_a_broken_account_is_not_tried_again():
    (first, *_rest) = leases.hold(owner="a")

    leases.mark_broken(pk=first.pk, owner="a", reason="refused")

    assert first.username not in _names(leases.hold(owner="a"))
    assert BotAccount.objects.get(pk=first.pk).broken_reason == "refused"
