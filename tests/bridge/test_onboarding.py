"""From a join link to a configuration that works, a service that starts it, a doctor that says what is wrong."""

import http.server
import json
import os
import plistlib
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from nexus_bridge import config, service, setup, tokens
from nexus_bridge.cli import main
from nexus_bridge.doctor import skew_s
from nexus_bridge.errors import ConfigError, CredentialsRefused
from nexus_bridge.joining import read_link

CODE = tokens.make(kind=tokens.JOIN, secret=b"j" * 32)
TOKEN = tokens.make(kind=tokens.BRIDGE, secret=b"b" * 32)


class Hub(http.server.BaseHTTPRequestHandler):
    """Redeems one code, once."""

    codes: set[str]
    agents = ({"slug": "echo-alice", "cli_kind": "echo", "parallel": 1},)

    def do_GET(self) -> None:
        known = {"bridge": "echo-alice", "owner": "alice", "agents": list(self.agents)}
        self._answer(200, known if self.path == "/bridge/check" else {})

    def do_POST(self) -> None:
        code = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["code"]
        if code not in self.codes:
            self._answer(401, {})
            return
        self.codes.remove(code)
        self._answer(200, {"token": TOKEN, "bridge": "echo-alice", "owner": "alice", "agents": list(self.agents)})

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub():
    handler = type("OneHub", (Hub,), {"codes": {CODE}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def join(hub: str, directory: Path, *, path: Path | None = None) -> None:
    setup.join(
        link=f"{hub}/join#{CODE}",
        path=path or directory / "bridge.toml",
        workdir=str(directory / "work"),
        env={"PATH": "/usr/bin"},
        ask=lambda _, default: default,
        say=lambda _: None,
        insecure_lan=False,
    )


def test_a_link_becomes_a_private_configuration_that_loads(hub, tmp_path):
    join(hub, tmp_path)

    path = tmp_path / "bridge.toml"
    found = config.load(path=path, env={"PATH": "/usr/bin"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (found.token, found.hub.url) == (TOKEN, hub.replace("http", "ws"))
    assert [(agent.slug, agent.cli, agent.workdir) for agent in found.agents] == [
        ("echo-alice", "echo", (tmp_path / "work").resolve())
    ]


def test_a_configuration_that_is_there_is_kept_and_the_code_not_used(hub, tmp_path):
    (tmp_path / "bridge.toml").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        join(hub, tmp_path)
    assert (tmp_path / "bridge.toml").read_text() == "mine"

    join(hub, tmp_path, path=tmp_path / "other.toml")


def test_a_used_link_leaves_nothing_behind(hub, tmp_path):
    join(hub, tmp_path)

    with pytest.raises(CredentialsRefused, match="unknown, used or too old"):
        join(hub, tmp_path, path=tmp_path / "second.toml")
    assert not (tmp_path / "second.toml").exists()


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("", "must look like"),
        ("nxj_x", "must look like"),
        ("https://nexus.example.org/join", "cut off or mistyped"),
        (f"https://nexus.example.org/join#{CODE[:-1]}", "cut off or mistyped"),
        (f"http://nexus.example.org/join#{CODE}", "in clear"),
        (f"https://me:pw@nexus.example.org/join#{CODE}", "user name or password"),
        (f"javascript:{CODE}", "must look like"),
    ],
)
def test_a_link_that_must_not_be_followed(link, why):
    with pytest.raises(ConfigError, match=why):
        read_link(link)


def test_init_asks_and_writes(hub, tmp_path, monkeypatch):
    answers = iter([hub, TOKEN, "echo-alice", "echo", str(tmp_path / "work")])
    path = tmp_path / "bridge.toml"

    setup.init(path=path, env={"PATH": "/usr/bin"}, ask=lambda *_: next(answers), say=lambda _: None)

    assert config.load(path=path, env={"PATH": "/usr/bin"}).agents[0].slug == "echo-alice"


def test_join_as_a_person_types_it(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    code = main(["join", f"{hub}/join#{CODE}", "--config", "bridge.toml", "--workdir", str(tmp_path / "work")])

    out = capsys.readouterr().out
    assert code == 0
    assert "You are echo-alice of alice." in out
    assert "bridge token   good" in out
    assert TOKEN not in out


def test_doctor_grades_what_it_finds(hub, tmp_path, capsys):
    join(hub, tmp_path)
    path = tmp_path / "bridge.toml"
    assert main(["doctor", "--config", str(path)]) == 0

    path.write_text(path.read_text().replace('default = "ask"', 'default = "allow"'))
    assert main(["doctor", "--config", str(path)]) == 1
    path.chmod(0o644)
    assert main(["doctor", "--config", str(path)]) == 2
    assert "chmod 600" in capsys.readouterr().out


def test_the_clock_is_compared_with_the_hubs():
    assert skew_s("Sun, 22 Nov 2026 09:00:00 GMT", now=1795338000.0 + 600) == pytest.approx(600)
    assert skew_s("nonsense", now=0) == 0.0


def test_the_policy_is_tried_out(hub, tmp_path, capsys):
    join(hub, tmp_path)
    path = tmp_path / "bridge.toml"
    rule = '[[policy.rule]]\nverdict = "deny"\ntool = "execute"\nroom = ["production"]\nhours = "22-6"\n'
    path.write_text(path.read_text().replace("deny = []", 'deny = ["Bash(rm *)"]') + rule)
    policy = ["policy", "test", "--config", str(path)]

    assert main([*policy, "--tool", "Bash", "--detail", "cd x && rm -rf ."]) == 1
    assert 'because of deny = ["Bash(rm *)"]' in capsys.readouterr().out
    night = ["--tool", "shell", "--kind", "execute", "--room", "production", "--hour", "23"]
    assert main([*policy, *night]) == 1
    assert "because of rule: deny tool execute; hours 22-6; room production" in capsys.readouterr().out
    assert main([*policy, "--tool", "Read"]) == 0
    assert "asked in the room" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ('verdict = "maybe"', "must be one of"),
        ('verdict = "deny"\nhours = "late"', "span of the day"),
        ('verdict = "deny"\nhours = "22-99"', "span of the day"),
        ('verdict = "deny"\ntool = "Bash(rm"', "is no tool pattern"),
        ('verdict = "deny"\nwho = ["bob"]', "is not a known key"),
        ('verdict = "deny"\npath = "src/*"', "agent's own policy"),
    ],
)
def test_a_rule_that_can_not_be_is_told(hub, tmp_path, rule, why):
    join(hub, tmp_path)
    path = tmp_path / "bridge.toml"
    path.write_text(f"{path.read_text()}[[policy.rule]]\n{rule}\n")

    with pytest.raises(ConfigError, match=why):
        config.load(path=path, env={"PATH": "/usr/bin"})


def test_a_systemd_unit_starts_this_python_with_this_configuration(tmp_path):
    unit = service.unit(
        platform="linux",
        home=tmp_path,
        config=Path("/c/100% mine.toml"),
        env={"PATH": "/bin", "SECRET": "x"},
        python="/p/python",
    )

    assert unit.path == tmp_path / ".config/systemd/user/nexus-bridge.service"
    assert 'ExecStart="/p/python" "-m" "nexus_bridge" "run" "--config" "/c/100%% mine.toml"' in unit.text
    assert 'Environment="PATH=/bin"' in unit.text
    assert "SECRET" not in unit.text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = service.unit(
        platform="linux", home=tmp_path, config=Path("/c/100% $mine.toml"), env={"PATH": "/bin", "LANG": "C.UTF-8"}
    )
    service.install(unit, say=lambda _: None)

    looked = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", str(unit.path)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    about_ours = [line for line in looked.stderr.splitlines() if "nexus-bridge" in line]
    assert about_ours == []


def test_a_launchd_plist_does_the_same(tmp_path):
    unit = service.unit(platform="darwin", home=tmp_path, config=Path("/c/b.toml"), env={"PATH": "/bin"}, python="/p")

    given = plistlib.loads(unit.text.encode())
    assert given["ProgramArguments"] == ["/p", "-m", "nexus_bridge", "run", "--config", "/c/b.toml"]
    assert given["EnvironmentVariables"] == {"PATH": "/bin"}


def test_elsewhere_it_is_said_plainly(tmp_path):
    with pytest.raises(service.NoServiceError, match="Windows"):
        service.unit(platform="win32", home=tmp_path, config=Path("c"), env={})


def test_a_service_is_installed_privately_and_removed(tmp_path):
    said: list[str] = []
    unit = service.unit(platform="linux", home=tmp_path, config=Path("/c/b.toml"), env={})

    service.install(unit, say=said.append)
    assert stat.S_IMODE(unit.path.stat().st_mode) == 0o600
    assert any("systemctl --user enable" in line for line in said)
    service.remove(unit, say=said.append)

    assert not unit.path.exists()
