"""Whose word about a peer's address is taken?"""

import ipaddress

import pytest

from gateway.forwarded import real_peer
from nexus_project.env import Environment

TRUSTED = [ipaddress.ip_network("172.30.77.0/24"), ipaddress.ip_network("::1/128")]
CADDY = "172.30.77.9"


def peer(address: str, *values: str) -> str:
    return real_peer(
        address, headers=[(b"x-forwarded-for", value.encode("latin-1")) for value in values], trusted=TRUSTED
    )


def test_our_own_proxy_is_believed():
    assert peer(CADDY, "203.0.113.7") == "203.0.113.7"


def test_nobody_else_is():
    assert peer("203.0.113.66", "127.0.0.1") == "203.0.113.66"


def test_what_the_sender_wrote_himself_stands_further_left_and_is_not_looked_at():
    assert peer(CADDY, "10.0.0.1, 203.0.113.7") == "203.0.113.7"
    assert peer(CADDY, "10.0.0.1", "203.0.113.7") == "203.0.113.7"


def test_a_chain_of_our_own_proxies_is_walked_through():
    assert peer(CADDY, "203.0.113.7, 172.30.77.2") == "203.0.113.7"


def test_an_address_of_the_other_kind_is_read_as_well():
    assert peer("::1", "2001:db8::5") == "2001:db8::5"
    assert peer("::ffff:172.30.77.9", "203.0.113.7") == "203.0.113.7"


@pytest.mark.parametrize("value", ["", "unknown", "203.0.113.7:8080", "a" * 5000, ",,,", "\xff"])
def test_what_is_no_address_leaves_the_proxys_own(value):
    assert peer(CADDY, value) == CADDY


def test_without_a_header_the_proxy_itself_is_the_peer():
    assert peer(CADDY) == CADDY


def test_a_setting_that_names_no_network_is_told():
    environment = Environment(values={"NEXUS_TRUSTED_PROXIES": "127.0.0.1,caddy"})

    environment.networks("NEXUS_TRUSTED_PROXIES")

    assert "NEXUS_TRUSTED_PROXIES is wrong" in environment.problems[0]
    assert "caddy" in environment.problems[0]
