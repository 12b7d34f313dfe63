"""Do the commands do, by the same functions, what the site and the API do?"""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from gateway.models import Agent, AuditEntry, Bridge, PersonaVersion
from tests.admin import rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]


@pytest.fixture
def it():
    return rows.everything()


def run(*words):
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_bridges_are_listed_with_their_agents(it):
    told = json.loads(run("list_bridges", "--json"))

    Bridge.objects.filter(pk=it.bridge.pk).update(load={"running": 2, "sessions": 3, "memory_mib": 41})

    assert "2 running, 3 CLIs live, 41 MiB" in run("list_bridges")
    assert (told["owner"], told["agents"], told["state"]) == ("alice", ["claude-alice"], "online")
    assert "online   alice-laptop" in run("list_bridges")


def test_a_bridge_is_revoked_by_an_agents_name_and_by_force_while_it_works(it):
    with pytest.raises(CommandError, match="--force"):
        run("revoke_bridge", "claude-alice")

    told = json.loads(run("revoke_bridge", "claude-alice", "--force", "--json"))

    assert told["runs_cut_off"] == 1
    assert Bridge.objects.get(pk=it.bridge.pk).revoked_at is not None
    assert json.loads(run("list_bridges", "--all", "--json"))["state"] == "revoked"
    assert run("list_bridges") == "There is no bridge yet; create_bridge makes one.\n"
    with pytest.raises(CommandError, match="list_bridges"):
        run("revoke_bridge", "nobody")


def test_a_join_link_is_told_as_json(it):
    told = json.loads(run("issue_join", it.bridge.name, "--json"))

    assert "/join#" in told["url"]
    assert AuditEntry.objects.filter(action="join_code_issued", actor="command").exists()


def test_a_persona_is_set_shown_and_kept(it, tmp_path):
    text = tmp_path / "persona.txt"
    text.write_text("You are terse.\n")

    assert json.loads(run("persona", "claude-alice", "--file", str(text), "--json"))["changed"] is True

    assert run("persona", "claude-alice") == "You are terse.\n"
    assert json.loads(run("persona", "claude-alice", "--history", "--json"))["versions"][0]["text"] == rows.EVIL
    assert "already" in run("persona", "claude-alice", "--file", str(text))
    assert PersonaVersion.objects.filter(changed_by="command").count() == 1


def test_a_persona_that_can_not_be_is_refused(it, tmp_path):
    text = tmp_path / "persona.txt"
    text.write_text("x" * 8_001)

    with pytest.raises(CommandError, match="8001 characters"):
        run("persona", "claude-alice", "--file", str(text))
    with pytest.raises(CommandError, match="can't be read"):
        run("persona", "claude-alice", "--file", str(tmp_path / "none"))

    assert Agent.objects.get(pk=it.agent.pk).persona == rows.EVIL
