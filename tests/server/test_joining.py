"""Does a join code become a bridge token once, and only once?"""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import RequestFactory

from gateway import bridge_auth, bridge_http, bridges, guessing
from gateway.models import AuditEntry, JoinCode
from tests.server import people

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def no_failures(monkeypatch):
    monkeypatch.setattr(bridge_http, "_failures", guessing.FailureLimit())


@pytest.fixture
def bridge():
    alice = people.make_user("alice")
    bridge = people.make_bridge(owner=alice)
    people.make_agent("claude-alice", owner=alice, bridge=bridge, parallel=2)
    return bridge


def post(body):
    return bridge_http.join(RequestFactory().post("/bridge/join", data=body, content_type="application/json"))


def told(answer):
    return json.loads(answer.content)


def redeem(code):
    return post(json.dumps({"code": code}))


def test_a_code_becomes_a_token_and_the_names_of_its_agents(bridge):
    issued = bridges.issue_join(bridge_id=bridge.pk, actor="test")

    answer = redeem(issued.code)

    found = told(answer)
    assert found["agents"] == [{"slug": "claude-alice", "cli_kind": "claude", "parallel": 2}]
    identity = bridge_auth.find_bridge(token=found["token"])
    assert identity is not None
    assert identity.bridge_id == bridge.pk
    assert answer["Cache-Control"] == "no-store"
    assert issued.url.endswith(f"/join#{issued.code}")


def test_a_code_is_good_once(bridge):
    issued = bridges.issue_join(bridge_id=bridge.pk, actor="test")
    first = told(redeem(issued.code))["token"]

    assert redeem(issued.code).status_code == 401
    assert bridge_auth.find_bridge(token=first) is not None


def test_a_new_code_voids_the_one_before_and_a_token_ends_with_the_next(bridge):
    first = bridges.issue_join(bridge_id=bridge.pk, actor="test")
    second = bridges.issue_join(bridge_id=bridge.pk, actor="test")

    assert redeem(first.code).status_code == 401
    token = told(redeem(second.code))["token"]
    third = bridges.issue_join(bridge_id=bridge.pk, actor="test")
    redeem(third.code)
    assert bridge_auth.find_bridge(token=token) is None


@pytest.mark.parametrize("spoil", ["expired", "revoked"])
def test_a_code_that_is_too_old_or_of_a_revoked_bridge_is_refused(bridge, spoil):
    issued = bridges.issue_join(bridge_id=bridge.pk, actor="test")
    if spoil == "expired":
        JoinCode.objects.update(expires_at=Now() - timedelta(seconds=1))
    else:
        bridges.revoke(bridge_id=bridge.pk, actor="test")

    assert redeem(issued.code).status_code == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"code": 7}', b'{"code": "nxj_short"}', b"x" * 9000])
def test_nonsense_is_refused_with_the_same_sentence(bridge, body):
    answer = post(body)

    assert answer.status_code == 401
    assert "issue_join" in told(answer)["error"]["message"]


def test_who_guesses_has_to_wait(bridge):
    for _ in range(guessing.FAILURES_PER_MINUTE):
        redeem("nxj_no")

    assert redeem(bridges.issue_join(bridge_id=bridge.pk, actor="test").code).status_code == 429


def test_the_code_itself_is_stored_nowhere(bridge):
    issued = bridges.issue_join(bridge_id=bridge.pk, actor="test")

    stored = json.dumps([*JoinCode.objects.values(), *AuditEntry.objects.values()], default=str)
    assert issued.code not in stored


def test_the_command_prints_the_line_to_run(bridge):
    out = io.StringIO()
    call_command("issue_join", "claude-alice", stdout=out)

    assert "nexus-bridge join '" in out.getvalue()
    with pytest.raises(CommandError, match="no bridge or agent 'nobody'"):
        call_command("issue_join", "nobody")


def test_a_browser_is_told_what_the_link_is_for():
    assert b"nexus-bridge join" in bridge_http.join_page(RequestFactory().get("/join")).content
