"""Countries of addresses, from a MaxMind database file given by the operator."""

from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

import maxminddb


class MaxMindFile:
    """Any database with ``country.iso_code`` (GeoLite2 or GeoIP2, Country or City)."""

    def __init__(self, path: Path) -> None:
        self._reader = maxminddb.open_database(path)
        self._country = lru_cache(maxsize=100_000)(self._read)

    def country(self, ip: str) -> str | None:
        """ISO 3166-1 alpha-2, None where unknown or where ``ip`` is no address."""
        return self._country(ip)

    def _read(self, ip: str) -> str | None:
        try:
            address = ip_address(ip)
            # Not every file says of IPv4 within IPv6 what it says of IPv4.
            found = self._reader.get(getattr(address, "ipv4_mapped", None) or address)
        except ValueError:
            return None
        country = found.get("country") if isinstance(found, dict) else None
        code = country.get("iso_code") if isinstance(country, dict) else None
        return code if isinstance(code, str) else None
