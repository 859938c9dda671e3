"""Whose address counts: the socket's, or what trusted proxies say, read from the right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.api.messages import Head
from adserver.api.peer import Peers, valid


def head(peer: str, *forwarded: str) -> Head:
    headers = [(b"x-forwarded-for", line.encode("latin-1", "replace")) for line in forwarded]
    return Head("GET", "/", b"", headers, peer)


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        ([], "198.51.100.1", ["203.0.113.7"], "198.51.100.1"),
        (["10.0.0.0/8"], "198.51.100.1", ["203.0.113.7"], "198.51.100.1"),
        (["10.0.0.0/8"], "10.0.0.1", [], "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        (["10.0.0.0/8"], "10.0.0.1", ["1.1.1.1, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        (["10.0.0.0/8"], "10.0.0.1", ["1.1.1.1", "203.0.113.7", "10.9.9.9"], "203.0.113.7"),
        (["10.0.0.0/8"], "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["10.0.0.0/8"], "10.0.0.1", ["203.0.113.7, unknown"], ""),
        (["10.0.0.0/8"], "10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        (["::1/128", "127.0.0.0/8"], "::1", ["2001:DB8::0:1"], "2001:db8::1"),
        (["10.0.0.0/8"], "10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        (["::ffff:10.0.0.0/104"], "10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        (["::ffff:10.0.0.0/104"], "11.0.0.1", ["203.0.113.7"], "11.0.0.1"),
        (["::/0"], "10.0.0.1", ["203.0.113.7"], "10.0.0.1"),
        (["10.0.0.0/8"], "", ["203.0.113.7"], ""),
    ],
)
def test_addresses(trusted: list[str], peer: str, forwarded: list[str], address: str) -> None:
    assert Peers(trusted).address(head(peer, *forwarded)) == address


@given(st.lists(st.text(max_size=30), max_size=5))
def test_whatever_a_client_writes_the_nearest_untrusted_hop_counts(lies: list[str]) -> None:
    lines = [lie.replace(",", "") for lie in lies]
    assert Peers(["10.0.0.0/8"]).address(head("10.0.0.1", *lines, "203.0.113.7")) == "203.0.113.7"


def test_a_very_long_chain_is_not_read_to_its_end() -> None:
    assert Peers(["0.0.0.0/0"]).address(head("10.0.0.1", ",".join(["10.0.0.2"] * 5000))) == "10.0.0.2"


@pytest.mark.parametrize(
    "text", ["999.1.1.1", "1.2.3", "fe80::1%eth0", "", "a", "1.2.3.4/8", " 1.2.3.4", None]
)
def test_what_is_no_address(text: str | None) -> None:
    assert valid(text) == ""


def test_networks_are_checked() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        Peers(["nonsense"])
