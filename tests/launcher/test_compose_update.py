"""Do `make update`, `make backup` and `make restore` keep what was, at whatever step something fails?"""

import os
import subprocess
from pathlib import Path

import pytest

from docker.programs import CHECKOUT

# Says what it was asked, and fails at the words that FAIL names; `ps` shows a stack that is up, or sick while FAIL is "sick".
ENGINE = """\
#!/bin/bash
echo "${0##*/} $*" >>"$CALLS"
if [[ $1 == ps ]]; then
  echo "nexus-prepare-1 Exited (0) 1 minute ago"
  health=healthy
  if [[ $FAIL == sick ]] && ! grep -q 'engine tag nexus:previous nexus:local' "$CALLS"; then health=unhealthy; fi
  if [[ $* == *Status* ]]; then echo "nexus-gateway-1 Up 1 minute ($health)"; else echo "nexus-gateway-1"; fi
fi
if [[ $* == *pg_dump* ]]; then echo "the dump"; fi
if [[ $* == *"manage.py backup"* ]]; then echo '{"path": "/var/lib/nexus/backups/nexus-20261122T030000Z.backup", "bytes": 9}'; fi
if [[ $* == *" cat /var"* ]]; then echo "the backup"; fi
if [[ -n $FAIL && $* == *"$FAIL"* ]] && ! grep -q 'engine tag nexus:previous nexus:local' "$CALLS"; then exit 1; fi
exit 0
"""


class Host:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.calls_path = directory / "calls"
        self.calls_path.touch()
        for name in ("engine", "composer"):
            (directory / name).write_text(ENGINE)
            (directory / name).chmod(0o755)

    def run(self, script: str, *words: str, fail: str = "") -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "ENV_FILE": str(self.directory / "settings"),
            "ENGINE": str(self.directory / "engine"),
            "COMPOSE": str(self.directory / "composer"),
            "CALLS": str(self.calls_path),
            "FAIL": fail,
            "SETTLE_S": "1",
            "LEASES_S": "0",
        }
        argv = [str(CHECKOUT / "docker" / script), *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)

    @property
    def steps(self) -> list[str]:
        """What was done, without the looks at what runs and the files and profiles of compose."""
        lines = [line for line in self.calls_path.read_text().splitlines() if not line.startswith("engine ps")]
        return [
            " ".join(word for word in line.split() if "/" not in word and not word.startswith("--")) for line in lines
        ]

    @property
    def dumps(self) -> list[Path]:
        return sorted((self.directory / ".nexus" / "dumps").glob("*.dump"))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """One that is up."""
    host = Host(tmp_path)
    host.run("up")
    host.calls_path.write_text("")
    return host


def test_an_update_dumps_builds_migrates_and_starts_in_that_order(host: Host) -> None:
    done = host.run("update")

    acts = [
        step
        for word in ("pg_dump", "tag nexus:local nexus:previous", "build", "run", "up -d")
        for step in host.steps
        if word in step
    ]
    assert done.returncode == 0, done.stderr
    assert acts == host.steps
    (dump,) = host.dumps
    assert dump.read_text() == "the dump\n"
    assert dump.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("fail", "sentence"),
    [
        ("build --pull", "the image could not be built"),
        ("run --rm", "the migrations failed"),
        ("sick", "the new version is not well"),
    ],
)
def test_an_update_that_fails_goes_back_to_the_image_before(host: Host, fail: str, sentence: str) -> None:
    done = host.run("update", fail=fail)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert str(host.dumps[0]) in done.stderr
    assert host.steps[-2] == "engine tag nexus:previous nexus:local"
    assert host.steps[-1].endswith("up -d")


def test_an_update_without_a_dump_changes_nothing(host: Host) -> None:
    done = host.run("update", fail="pg_dump")

    assert done.returncode == 1
    assert host.dumps == []
    assert len(host.steps) == 1


def test_only_the_last_dumps_are_kept(host: Host) -> None:
    folder = host.directory / ".nexus" / "dumps"
    folder.mkdir(parents=True)
    for day in range(1, 9):
        (folder / f"2026010{day}T000000Z.dump").touch()

    host.run("update")

    assert len(host.dumps) == 5
    assert host.dumps[0].name == "20260105T000000Z.dump"


def test_a_host_that_was_never_up_has_nothing_to_update(tmp_path: Path) -> None:
    done = Host(tmp_path).run("update")

    assert done.returncode == os.EX_CONFIG
    assert "Cure: make up" in done.stderr


def test_up_waits_until_everything_is_well_and_says_where_to_click(host: Host) -> None:
    done = host.run("up")

    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:4000/admin/" in done.stdout
    assert "make bootstrap" in done.stdout


def test_up_names_who_is_not_well_and_where_to_look(host: Host) -> None:
    done = host.run("up", fail="sick")

    assert done.returncode == 1
    assert "not well: gateway Up 1 minute (unhealthy)" in done.stderr
    assert "docker/compose logs --tail 50 gateway" in done.stderr


def test_a_backup_is_copied_out_privately_and_only_the_last_ones_stay(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for day in range(1, 5):
        (folder / f"nexus-2026010{day}T000000Z.backup").touch()

    done = host.run("backup", str(folder), "--encrypt", "--keep", "2")

    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["nexus-20260104T000000Z.backup", "nexus-20261122T030000Z.backup"]
    made = folder / names[-1]
    assert made.read_text() == "the backup\n"
    assert made.stat().st_mode & 0o777 == 0o600
    assert "--encrypt" in host.calls_path.read_text()
    assert "rm -f /var/lib/nexus/backups/nexus-20261122T030000Z.backup" in host.calls_path.read_text()


@pytest.mark.parametrize("fail", ["manage.py backup", "gateway cat"])
def test_a_backup_that_fails_leaves_no_file_that_looks_whole(host: Host, tmp_path: Path, fail: str) -> None:
    done = host.run("backup", str(tmp_path / "out"), fail=fail)

    assert done.returncode != 0
    assert list((tmp_path / "out").glob("*.backup")) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--keep", "0"], "from 1 to 9999, not '0'"),
        (["--keep"], "from 1 to 9999, not ''"),
        (["--encypt"], "--encypt is no flag"),
    ],
)
def test_a_wrong_word_of_a_backup_is_said(host: Host, words: list[str], sentence: str) -> None:
    done = host.run("backup", *words)

    assert done.returncode == os.EX_USAGE
    assert sentence in done.stderr
    assert host.steps == []


@pytest.mark.parametrize("text", [b"PGDMP", b"nexus"])
def test_a_restore_stops_nexus_reads_the_file_and_starts_it_again(host: Host, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "file").write_bytes(text)

    done = host.run("restore", str(tmp_path / "file"), "--replace")

    assert done.returncode == 0, done.stderr
    calls = [line for line in host.calls_path.read_text().splitlines() if line.startswith("composer")]
    acts = ("up -d postgres", " stop ", "exec -T postgres", "run --rm", "up -d")
    assert [next(act for act in acts if act in call) for call in calls] == [
        "up -d postgres",
        " stop ",
        "exec -T postgres" if text == b"PGDMP" else "run --rm",
        "up -d",
    ]
    assert ("--replace" in calls[2]) == (text != b"PGDMP")


def test_a_restore_that_fails_starts_nothing(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"nexus")

    done = host.run("restore", str(tmp_path / "file"), fail="run --rm")

    assert done.returncode == 1
    assert not host.steps[-1].endswith("up -d")


def test_a_restore_wants_a_file(host: Host, tmp_path: Path) -> None:
    assert "Say from which file" in host.run("restore").stderr
    assert "Say from which file" in host.run("restore", "--replace").stderr
    assert "There is no file" in host.run("restore", str(tmp_path / "nowhere")).stderr
    assert host.steps == []
