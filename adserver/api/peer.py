"""Whose address a request comes from. Only a trusted proxy is believed about whom it speaks for."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from adserver.api.messages import Head

_MAPPED_BITS = 96
_HOPS_MAX = 32
"""Longer chains are not read to their end: nobody has so many proxies."""


class Peers:
    """``trusted``: networks in CIDR form; ValueError for anything else."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._networks = tuple(_network(text) for text in trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._trusts)

    def address(self, head: Head) -> str:
        """The end user's address: the socket's peer, or what trusted proxies say, read from the right
        (the left is whatever the client wrote). "" where a trusted proxy names no valid address."""
        if not self._networks or not self._is_trusted(head.peer):
            return head.peer
        address = head.peer
        for entry in _forwarded(head):
            address = valid(_without_port(entry))
            if not address or not self._is_trusted(address):
                break
        return address

    def _trusts(self, text: str) -> bool:
        address = _parse(text)
        if address is None:
            return False
        return any(address.version == net.version and address in net for net in self._networks)


def valid(text: str | None) -> str:
    """The address in its canonical spelling, "" if it is none."""
    address = _parse(text) if text else None
    return "" if address is None else str(address)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def _network(text: str) -> IPv4Network | IPv6Network:
    """One of IPv4 within IPv6 is IPv4, as addresses are."""
    found = ip_network(text)
    mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    if mapped is None or found.prefixlen < _MAPPED_BITS:
        return found
    return IPv4Network((mapped, found.prefixlen - _MAPPED_BITS))


def _forwarded(head: Head) -> Sequence[str]:
    """The entries of all ``x-forwarded-for`` headers, the nearest hop first."""
    lines = [value for name, value in head.headers if name == b"x-forwarded-for"]
    entries = b",".join(lines).rsplit(b",", _HOPS_MAX)
    return [entry.decode("latin-1").strip() for entry in reversed(entries[-_HOPS_MAX:])] if lines else ()


def _without_port(entry: str) -> str:
    """``192.0.2.1:80`` and ``[2001:db8::1]:80`` as some proxies write them."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
