"""Networks in ranges against ``ipaddress``, and what a list may say."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.networks import Networks, packed

Network = IPv4Network | IPv6Network


def v4(bits: int, length: int) -> Network:
    return IPv4Network((bits >> 32 - length << 32 - length, length))


def v6(bits: int, length: int) -> Network:
    return IPv6Network((bits >> 128 - length << 128 - length, length))


# Few bits, at both ends: networks overlap, touch and repeat, and end where addresses do.
ENDS = st.sampled_from([0, 1, 2, 3, 5, 8, 2**31 - 1, 2**31, 2**32 - 9, 2**32 - 2, 2**32 - 1])
WIDE_ENDS = st.builds(lambda high, low: high << 96 | low << 40 | low, ENDS, ENDS)
NETWORKS = st.lists(
    st.one_of(
        st.builds(v4, ENDS, st.sampled_from([1, 2, 8, 24, 29, 30, 31, 32])),
        st.builds(v6, WIDE_ENDS, st.sampled_from([1, 20, 32, 48, 63, 64, 65, 96, 127, 128])),
    ),
    max_size=12,
)


@given(st.builds(v4, ENDS, st.integers(1, 32)), ENDS)
def test_a_network_of_ipv4_within_ipv6_is_ipv4(network: Network, other: int) -> None:
    mapped = f"::ffff:{network.network_address}/{96 + network.prefixlen}"
    found = Networks([mapped, str(ip_network(mapped).exploded)])
    for number in (int(network.network_address), int(network.broadcast_address), other):
        address = IPv4Address(number)
        for text in (str(address), f"::ffff:{address}"):
            asked = packed(text)
            assert asked is not None and (asked in found) is (address in network)
        assert bytes(12) + address.packed not in found


@given(NETWORKS)
def test_an_address_is_in_one_of_them_or_not(networks: list[Network]) -> None:
    found = Networks(map(str, networks))
    assert len(found) == len(networks)
    for network in networks:
        first, last = int(network.network_address), int(network.broadcast_address)
        kind, most = type(network.network_address), 2**network.max_prefixlen - 1
        for number in {first, last, (first + last) // 2, max(first - 1, 0), min(last + 1, most)}:
            address = kind(number)
            inside = any(address.version == one.version and address in one for one in networks)
            assert (address.packed in found) is inside, address


def test_a_list_as_it_is_written() -> None:
    lines = [
        "# clouds", "", "  198.51.100.0/24\t# one of them", "2001:db8::/32", "203.0.113.7", "2001:DB9::1",
        "192.0.2.0/255.255.255.0",
    ]  # fmt: skip
    found = Networks(lines)
    assert len(found) == 5
    for text, inside in (
        ("198.51.100.255", True), ("::ffff:198.51.100.0", True), ("198.51.101.0", False),
        ("203.0.113.7", True), ("203.0.113.8", False), ("2001:db8:ffff::", True), ("2001:db9::1", True),
        ("2001:db9::2", False), ("192.0.2.200", True),
    ):  # fmt: skip
        address = packed(text)
        assert address is not None and (address in found) is inside, text


@pytest.mark.parametrize(
    "line",
    ["198.51.100.1/24", "198.51.100.0/33", "198.51.100.0/-1", "198.51.100", "2001:db8::/129",
     "2001:db8::1/32", "198.51.100.0/٢٤", "198.51.100.0 198.51.101.0", "0.0.0.0/0", "::/0", "cloud", "/24",
     "::ffff:0.0.0.0/96", "::ffff:0:0/96", "x" * 100, "fe80::1%eth0/128"],
)  # fmt: skip
def test_what_is_no_network_is_named_by_its_line(line: str) -> None:
    with pytest.raises(ValueError, match=r"^line 3: ") as error:
        Networks(["192.0.2.0/24", "#", line])
    assert len(str(error.value)) < 200


def test_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adserver.networks._MOST_LISTED", 3)
    lines = [f"192.0.2.{number}" for number in range(4)]
    assert len(Networks(lines[:3])) == 3
    with pytest.raises(ValueError, match="line 4: more than 3 networks"):
        Networks(lines)


@given(st.one_of(st.ip_addresses(), st.text(max_size=20)))
def test_packed_as_the_library_does(said: object) -> None:
    text = str(said)
    try:
        address = ip_address(text)
    except ValueError:
        return
    mapped = getattr(address, "ipv4_mapped", None)
    if getattr(address, "scope_id", None) is None:
        assert packed(text) == (mapped or address).packed
        assert ip_network(text).version in (4, 6)


@pytest.mark.parametrize("text", ["", "unknown", "1.2.3", "1.2.3.4.5", "::g", "1.2.3.4\0", "é", "1:2"])
def test_what_is_no_address(text: str) -> None:
    assert packed(text) is None
