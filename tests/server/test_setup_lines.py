"""Do the lines that a developer is given fit the host they lead to?"""

import tomllib

import pytest

from gateway import bridges
from nexus_bridge.address import address_problem

TOKEN = "nxb_of-a-test"  # not a real one


def config(hub: str) -> dict:
    return tomllib.loads(bridges.config_text(hub=hub, token=TOKEN, slug="echo-alice", cli="echo"))


@pytest.mark.parametrize(
    "hub",
    ["http://192.168.1.20:4000", "http://100.101.102.103:4000", "http://127.0.0.1:4000", "https://nexus.example.org"],
)
def test_a_bridge_accepts_the_address_that_stands_in_them(hub: str) -> None:
    written = config(hub)

    assert address_problem(written["hub"], is_insecure_lan=written.get("insecure_lan", False)) is None


@pytest.mark.parametrize("hub", ["http://127.0.0.1:4000", "https://nexus.example.org"])
def test_nothing_is_given_away_where_the_way_is_safe(hub: str) -> None:
    assert "insecure_lan" not in config(hub)


def test_a_plain_address_on_the_internet_is_left_for_the_bridge_to_refuse() -> None:
    assert "insecure_lan" not in config("http://203.0.113.7:4000")


def test_the_join_line_says_what_it_accepts() -> None:
    plain = bridges.join_instructions(url="http://192.168.1.20:4000/join#nxj_x", hours=24)
    safe = bridges.join_instructions(url="https://nexus.example.org/join#nxj_x", hours=24)

    assert "nexus-bridge join --insecure-lan 'http://192.168.1.20:4000/join#nxj_x'" in plain
    assert "nexus-bridge join 'https://nexus.example.org/join#nxj_x'" in safe
