"""Countries of addresses, from a file that knows IPv4 under its own addresses alone."""

from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

import pytest

from adserver.geography import MaxMindFile

HERE = ip_network("203.0.113.0/24")


class Database:
    def get(self, address: object) -> Any:
        return {"country": {"iso_code": "FR"}} if isinstance(address, IPv4Address) and address in HERE else {}


@pytest.mark.parametrize(
    ("ip", "country"),
    [("203.0.113.7", "FR"), ("::ffff:203.0.113.7", "FR"), ("198.51.100.7", None), ("2001:db8::1", None),
     ("unknown", None)],
)  # fmt: skip
def test_a_country(monkeypatch: pytest.MonkeyPatch, ip: str, country: str | None) -> None:
    monkeypatch.setattr("maxminddb.open_database", lambda path: Database())
    assert MaxMindFile(Path("any.mmdb")).country(ip) == country
