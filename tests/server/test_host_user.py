"""Does the host's bridge run as the unprivileged user it is given, and can that user change nothing that is not his?"""

import os
import pwd
import stat
import subprocess

import pytest

from gateway.management.commands import runtime_host
from runtime import host, host_user
from runtime.host_user import HostUserError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


@pytest.mark.parametrize(("name", "why"), [("no-such-user-here", "there is no user"), ("root", "must not be root")])
def test_a_user_that_must_not_be(name, why):
    with pytest.raises(HostUserError, match=why):
        host_user.find(name)


def test_whoever_is_not_root_can_not_become_somebody_else(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid + 1)

    with pytest.raises(HostUserError, match="start runtime_host as root"):
        host_user.find("nobody")


@as_root
def test_his_directories_lie_below_one_that_is_ours(tmp_path):
    user = host_user.find("nobody")
    base = tmp_path / "host"

    host_user.make_base(base, user=user)
    host_user.make_directory(base / "journal", user=user)

    assert (base.stat().st_uid, stat.S_IMODE(base.stat().st_mode)) == (0, 0o711)
    assert (base / "journal").stat().st_uid == user.uid


@as_root
def test_what_is_started_as_him_has_his_ids_and_no_group_of_ours():
    user = host_user.find("nobody")

    out = subprocess.run(["id"], capture_output=True, text=True, check=True, cwd="/", **host._as(user)).stdout

    assert f"uid={user.uid}(" in out
    assert "root" not in out


def test_a_user_of_their_own_lets_real_clis_join(settings, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}")
    settings.NEXUS_HOST_CLIS = False
    settings.NEXUS_HOST_USER = "nexus-agents"

    assert "claude" in [one.slug for one in runtime_host.built_in()]
