"""Every mistake in bridge.toml is named with its file, its key and its cure, all of them at once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_bridge import config, tokens
from nexus_bridge.address import address_problem
from nexus_bridge.errors import ConfigError
from nexus_bridge.settings import Config

TOKEN = tokens.make(kind="nxb", secret=b"a" * 32)

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBhDCCASmgAwIBAgIUe8iucMzfohWuCFE1YNehicDcsGQwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLQWxpY2UncyBvd24wIBcNMjYxMTIyMDQ1NTAzWhgPMjEyNjEw
MjkwNDU1MDNaMBYxFDASBgNVBAMMC0FsaWNlJ3Mgb3duMFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAElO4KRkrA2oRHocF94vsPNjLQ3P/UYOk/OgxQ/usNe05ILcXQ
D7qj6qdZigk6SlOJyNSwrNAFJlA+mI8VX3j3AqNTMFEwHQYDVR0OBBYEFJOa1ZTy
C1jdjzfEhT1M02gkFjRnMB8GA1UdIwQYMBaAFJOa1ZTyC1jdjzfEhT1M02gkFjRn
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAL+IMdwF5PS2k6tf
zqw6TSSTcnEMLwg4s22scKR4euC2AiEAqrzLhTHnYEB6MHEwoRYyjvTbmTvKQ1zf
3qtxsdyV6YQ=
-----END CERTIFICATE-----
"""

Read = Callable[..., Config]


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def read(tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads a file made of these parts; what is not given is right."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()

    def read_parts(
        head: str | None = None, agent: str | None = None, rest: str = "", *, text: str | None = None
    ) -> Config:
        head = f'hub = "wss://nexus.example.org"\ntoken = "{TOKEN}"' if head is None else head
        agent = f'slug = "echo-alice"\ncli = "echo"\nworkdir = "{workdir}"' if agent is None else agent
        path = tmp_path / "bridge.toml"
        path.write_text(f"{head}\n[[agent]]\n{agent}\n{rest}\n" if text is None else text)
        path.chmod(0o600)
        return config.load(path=path, env=os.environ)

    return read_parts


def problems(read: Read, **parts: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**parts)
    return str(caught.value)


def agent(workdir: Path, extra: str = "", *, cli: str = "echo", slug: str = "echo-alice") -> str:
    return f'slug = "{slug}"\ncli = "{cli}"\nworkdir = "{workdir}"\n{extra}'


def head(**values: str) -> str:
    lines = {"hub": '"wss://nexus.example.org"', "token": f'"{TOKEN}"'} | values
    return "\n".join(f"{key} = {value}" for key, value in lines.items())


def test_a_small_file_has_sensible_defaults(read: Read, tmp_path: Path, workdir: Path) -> None:
    found = read()

    (only,) = found.agents
    assert found.hub.socket_url == "wss://nexus.example.org/ws/bridge/"
    assert found.hub.http_url == "https://nexus.example.org"
    assert (only.slug, only.cli, only.command, only.workdir, only.parallel) == ("echo-alice", "echo", (), workdir, 1)
    assert only.rules.default == "ask"
    assert found.journal == tmp_path / "home/.local/state/nexus-bridge"
    assert TOKEN not in repr(found)


def test_a_full_file_is_read_whole(read: Read, tmp_path: Path, workdir: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)

    found = read(
        head=head(hub='"wss://nexus.example.org:8443/ws/bridge/"', journal='"~/journal"', ca_file='"ca.pem"'),
        agent=agent(
            workdir,
            'command = ["/bin/sh", "-c", "true"]\nparallel = 3\ncallers = ["bob"]\nrooms = ["general"]\n'
            'env = { A = "b" }\noptions = { scripted = "true" }\npolicy = { allow = ["Read"], default = "deny" }',
        ),
        rest='[limits]\nwall_s = 60\nlive_clis = 2\n[policy]\ndeny = ["Bash(rm *)"]\n',
    )

    (only,) = found.agents
    assert found.hub.socket_url == "wss://nexus.example.org:8443/ws/bridge/"
    assert found.hub.ca_file == tmp_path / "ca.pem"
    assert found.journal == tmp_path / "home/journal"
    assert (found.limits.wall_s, found.limits.live_clis) == (60.0, 2)
    assert only.command == ("/bin/sh", "-c", "true")
    assert (only.env, only.options) == ({"A": "b"}, {"scripted": "true"})
    assert (only.audience.callers, only.audience.rooms) == (("bob",), ("general",))
    assert (only.rules.deny, only.rules.allow, only.rules.default) == (("Bash(rm *)",), ("Read",), "deny")


def test_every_problem_is_told_at_once(read: Read, tmp_path: Path) -> None:
    told = problems(read, head='hub = "nexus"\ntokn = "x"', agent='slug = "Echo"\ncli = "ecko"').splitlines()

    assert len(told) == 6
    assert all(line.startswith(f"{tmp_path}/bridge.toml: ") for line in told)


# The file itself


def test_a_missing_file_is_told_with_the_way_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bridge.toml: the configuration is not there; .*--config"):
        config.load(path=tmp_path / "bridge.toml", env={})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused_with_the_chmod_line(read: Read, tmp_path: Path, mode: int) -> None:
    read()
    path = tmp_path / "bridge.toml"
    path.chmod(mode)

    with pytest.raises(ConfigError, match=f"run: chmod 600 {path}"):
        config.load(path=path, env={})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(read: Read, tmp_path: Path) -> None:
    read()
    os.chown(tmp_path / "bridge.toml", 12345, 12345)

    with pytest.raises(ConfigError, match="belongs to another user; run: chown"):
        config.load(path=tmp_path / "bridge.toml", env={})


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        config.load(path=tmp_path, env={})


def test_a_device_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="no regular file"):
        config.load(path=Path("/dev/null"), env={})


def test_what_is_no_toml_is_told_with_line_and_column(read: Read) -> None:
    assert "is not valid TOML" in problems(read, text='hub = "wss://x\n')
    assert "line 1" in problems(read, text="hub = = 3\n")


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bridge.toml"
    path.write_bytes(b'hub = "\xff"\n')
    path.chmod(0o600)

    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 7\)"):
        config.load(path=path, env={})


def test_a_huge_file_is_refused(read: Read) -> None:
    assert "larger than 1 MiB" in problems(read, text="#" * 1_100_000)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(read: Read, workdir: Path) -> None:
    text = f"{head()}\n[[agent]]\n{agent(workdir)}\n".replace("\n", "\r\n")

    assert read(text=f"\ufeff{text}").agents


# Keys and types


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"head": head(journaal='"/x"')}, "journaal: is not a known key; did you mean journal?"),
        ({"head": head(zzz="1")}, "zzz: is not a known key; known are: "),
        ({"rest": "[limits]\nwall = 3\n"}, "limits.wall: is not a known key; did you mean wall_s?"),
        ({"rest": "[policy]\nallowed = []\n"}, "policy.allowed: is not a known key; did you mean allow?"),
        ({"head": head(hub="3")}, "hub: must be a text in quotes, not a whole number"),
        ({"head": head(insecure_lan='"yes"')}, "insecure_lan: must be true or false, not a text in quotes"),
        ({"rest": "[limits]\nwall_s = true\n"}, "limits.wall_s: must be a number, not true or false"),
        ({"rest": "[limits]\nwall_s = -1\n"}, "limits.wall_s: must lie between 1 and 86400"),
        ({"rest": "[limits]\nwall_s = nan\n"}, "limits.wall_s: must lie between 1 and 86400"),
        ({"rest": "[limits]\nlive_clis = 2.5\n"}, "limits.live_clis: must be a whole number, not a number"),
        ({"rest": "[limits]\nlive_clis = 0\n"}, "limits.live_clis: must lie between 1 and 256"),
        ({"rest": "[limits]\npool_memory_mib = -1\n"}, "limits.pool_memory_mib: must lie between 0 and 10000000"),
        ({"rest": "[limits]\npool_memory = 1\n"}, "pool_memory_mib"),
        ({"head": head(limits="3")}, "limits: must be a table, not a whole number"),
        ({"head": head(journal='"some/where"')}, "journal: must be an absolute path or start with ~"),
        ({"head": head(journal='"/a\\u0007b"')}, "journal: holds control characters; write it in one line"),
        ({"head": head(ca_file='"no.pem"')}, "no.pem is not there; name your team's CA certificate"),
        (
            {"rest": '[policy]\ndefault = "alloww"\n'},
            "policy.default: must be one of deny, local, ask, allow; did you",
        ),
        ({"rest": '[policy]\nallow = ["Bash(git *"]\n'}, "policy.Bash(git *: is no tool pattern"),
        ({"rest": '[policy]\nallow = "Bash"\n'}, 'policy.allow: must be a list of texts, like ["one", "two"]'),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_cure(read: Read, parts: dict[str, str], told: str) -> None:
    assert told in problems(read, **parts)


# Address


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nexus.example.org", "must be an address like"),
        ("ftp://nexus.example.org", "must be an address like"),
        ("wss://", "must be an address like"),
        ("wss://nexus example.org", "without spaces"),
        ("wss://nexus.example.org\\evil", "without spaces"),
        ("wss://[::1", "is not an address"),
        ("wss://x:99999", "is not an address"),
        ("wss://x:0", "has port 0"),
        ("https://nexus.example.org", "starts with https://; write wss:// instead"),
        ("http://127.0.0.1:4000", "starts with http://; write ws:// instead"),
        ("wss://alice:secret@nexus.example.org", "must not hold a user name or password"),
        ("wss://@nexus.example.org", "must not hold a user name or password"),
        ("wss://nexus.example.org/?token=x", "must not hold a query or fragment"),
        ("wss://nexus.example.org/#x", "must not hold a query or fragment"),
        ("wss://nexus.example.org?", "must not hold a query or fragment"),
        ("ws://nexus.example.org", "sends the bridge token in clear; use wss://"),
        ("ws://localhost:4000", "use wss://, or ws://127.0.0.1"),
        ("ws://127.evil.com", "sends the bridge token in clear"),
        ("ws://127.0.0.1.evil.com", "sends the bridge token in clear"),
        ("ws://2130706433", "sends the bridge token in clear"),
        ("ws://0x7f000001", "sends the bridge token in clear"),
        ("ws://127.1", "sends the bridge token in clear"),
        ("ws://0177.0.0.1", "sends the bridge token in clear"),
        ("ws://[::ffff:8.8.8.8]", "through the internet; use wss://"),
        ("ws://8.8.8.8", "through the internet; use wss://"),
        ("ws://0.0.0.0", "through the internet; use wss://"),
        ("ws://169.254.169.254", "through the internet; use wss://"),
        ("ws://192.168.1.5:4000", "insecure_lan = true"),
        ("ws://[::ffff:10.0.0.1]", "insecure_lan = true"),
        ("ws://100.64.0.1", "insecure_lan = true"),
    ],
)
def test_an_address_that_a_token_must_not_go_to_is_refused(url: str, told: str) -> None:
    assert told in (address_problem(url, is_insecure_lan=False) or "")


@pytest.mark.parametrize(
    "url", ["wss://nexus.example.org", "wss://10.0.0.1", "ws://127.0.0.1:4000", "ws://[::1]:4000", "ws://127.9.9.9"]
)
def test_an_address_that_is_safe_is_taken(url: str) -> None:
    assert address_problem(url, is_insecure_lan=False) is None


@pytest.mark.parametrize(
    ("url", "is_fine"),
    [
        ("ws://192.168.1.5", True),
        ("ws://100.100.1.1", True),
        ("ws://[fd00::1]", True),
        ("ws://[::ffff:10.0.0.1]", True),
        ("ws://100.128.0.1", False),
        ("ws://8.8.8.8", False),
        ("ws://printer.local", False),
    ],
)
def test_insecure_lan_opens_private_networks_and_no_more(url: str, is_fine: bool) -> None:
    assert (address_problem(url, is_insecure_lan=True) is None) == is_fine


# Token


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"token": '""'}, "token: is missing; create_bridge on the host prints it once"),
        ({"token": '"hello"'}, "token: is not a bridge token; those start with nxb_"),
        ({"token": f'"{TOKEN[:-3]}"'}, "token: looks truncated or mistyped"),
        ({"token": f'"{TOKEN[:10]}X{TOKEN[11:]}"'}, "token: looks truncated or mistyped"),
        ({"token": f'" {TOKEN}"'}, "token: is not a bridge token"),
        ({"token_file": '"t"'}, "token: stands beside token_file; keep one of the two"),
    ],
)
def test_a_token_that_can_not_be_one_is_told_apart(read: Read, given: dict[str, str], told: str) -> None:
    assert told in problems(read, head=head(**given))


def test_a_token_may_stand_in_a_file_of_its_own(read: Read, tmp_path: Path) -> None:
    (tmp_path / "bridge.token").write_text(f"{TOKEN}\n")
    (tmp_path / "bridge.token").chmod(0o600)

    assert read(head='hub = "wss://x.org"\ntoken_file = "bridge.token"').token == TOKEN


def test_a_token_file_that_others_may_read_is_refused(read: Read, tmp_path: Path) -> None:
    (tmp_path / "bridge.token").write_text(f"{TOKEN}\n")
    (tmp_path / "bridge.token").chmod(0o644)

    assert "chmod 600" in problems(read, head='hub = "wss://x.org"\ntoken_file = "bridge.token"')


def test_a_file_without_certificates_is_no_authority(read: Read, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")

    assert "ca.pem holds no certificate" in problems(read, head=head(ca_file='"ca.pem"'))


# Agents


@pytest.mark.parametrize("slug", ["", "E", "echo", "Echo-Alice", "-echo", "echo alice", "écho", "../x", "a" * 65])
def test_a_slug_is_what_create_bridge_makes(read: Read, workdir: Path, slug: str) -> None:
    if slug == "echo":
        assert read(agent=agent(workdir, slug=slug)).agents[0].slug == "echo"
    else:
        assert "agent 1, slug: must be 2 to 64 small letters" in problems(read, agent=agent(workdir, slug=slug))


def test_an_unknown_cli_kind_is_told_with_the_nearest(read: Read, workdir: Path) -> None:
    assert "agent 1, cli: 'ecco' is no CLI kind; did you mean echo?" in problems(
        read, agent=agent(workdir, cli="ecco")
    )


def test_the_same_agent_twice_is_told(read: Read, workdir: Path) -> None:
    told = problems(read, rest=f"[[agent]]\n{agent(workdir)}")

    assert "agent: echo-alice stands there twice" in told


def test_a_file_without_agents_is_told(read: Read) -> None:
    assert "agent: there is none; add an [[agent]] section" in problems(read, text=head())


def test_too_many_agents_are_told(read: Read, workdir: Path) -> None:
    many = "".join(f"[[agent]]\n{agent(workdir, slug=f'echo-{number}')}\n" for number in range(64))

    assert "there are 65; 64 are the most" in problems(read, rest=many)


@pytest.mark.parametrize("value", ["3", "[3]", '"echo"'])
def test_agents_are_sections(read: Read, value: str) -> None:
    assert "agent: must be" in problems(read, text=f"{head()}\nagent = {value}\n")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ('"claude --verbose; rm x"', 'command: must be a list of texts, like ["claude", "--verbose"], program first'),
        ("[]", "command: is empty; leave it out for the usual one"),
        ("[3]", "command: must be a list of texts"),
        ('["no-such-program"]', "command: no-such-program is not on PATH; install it, or write its whole path"),
        ('["/no/such/program"]', "command: /no/such/program is not there or not executable"),
        ('["./run.sh"]', "command: ./run.sh is a relative path; write it whole"),
    ],
)
def test_a_command_is_a_list_and_its_program_is_there(read: Read, workdir: Path, command: str, told: str) -> None:
    assert f"agent 1, {told}" in problems(read, agent=agent(workdir, f"command = {command}"))


def test_a_cli_kind_without_a_usual_command_needs_one(read: Read, workdir: Path) -> None:
    assert "command: is missing; pty needs one" in problems(read, agent=agent(workdir, cli="pty"))


def test_the_usual_command_is_looked_for_too(
    read: Read, workdir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "command: claude is not on PATH" in problems(read, agent=agent(workdir, cli="claude"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "workdir: is missing; name the directory the CLI works in"),
        ('workdir = "work"', "workdir: must be an absolute path or start with ~"),
        ('workdir = "/no/such"', "workdir: /no/such is not there; make it, or name another"),
        ('workdir = "/etc/passwd"', "workdir: /etc/passwd is not a directory"),
        ('workdir = "/"', "workdir: / holds everything you have"),
        ('workdir = "~"', "holds everything you have; name the one project"),
    ],
)
def test_a_workdir_is_one_project(read: Read, line: str, told: str) -> None:
    assert f"agent 1, {told}" in problems(
        read, agent=f'slug = "echo-alice"\ncli = "echo"\n{line}'
    ) or told in problems(read, agent=f'slug = "echo-alice"\ncli = "echo"\n{line}')


def test_a_workdir_that_leads_elsewhere_is_refused(read: Read, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "out").symlink_to("/usr")

    told = problems(read, agent=agent(tmp_path / "in" / "out"))

    assert "is a symbolic link that leads to /usr; name that, if it is meant" in told


def test_a_workdir_link_within_its_directory_is_fine(read: Read, tmp_path: Path, workdir: Path) -> None:
    (tmp_path / "current").symlink_to(workdir)

    assert read(agent=agent(tmp_path / "current")).agents[0].workdir == workdir


def test_an_environment_has_names(read: Read, workdir: Path) -> None:
    assert "'A B' is no name of an environment variable" in problems(
        read, agent=agent(workdir, 'env = { "A B" = "x" }')
    )
    assert 'env: must be a table of texts, like { NAME = "value" }' in problems(
        read, agent=agent(workdir, "env = { A = 3 }")
    )


# Where it is


def test_the_file_is_named_by_a_variable_or_stands_in_the_usual_place(tmp_path: Path) -> None:
    assert config.default_path({"NEXUS_BRIDGE_CONFIG": "/x/b.toml"}) == Path("/x/b.toml")
    assert config.default_path({"XDG_CONFIG_HOME": "/c"}) == Path("/c/nexus-bridge/bridge.toml")
    assert config.default_path({}) == Path.home() / ".config/nexus-bridge/bridge.toml"
