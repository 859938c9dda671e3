"""What people call an account: by ids where the books have numbers."""

from typing import Final

from sqlalchemy import Connection, text

from adserver.domain.accounts import OWED

_HOLDS: Final = {"wallet": "advertiser", "credit": "advertiser"}


class Titles:
    """Of everything that the terms told of."""

    def __init__(self, connection: Connection) -> None:
        self._ids: dict[tuple[str, str], str] = {}
        sold = text("SELECT serial, campaign, advertiser, full_id FROM line_items")
        for line_item, campaign, advertiser, full_id in connection.execute(sold):
            self._ids["line_item", str(line_item)] = full_id
            self._ids["campaign", str(campaign)] = full_id.rpartition("/")[0]
            self._ids["advertiser", str(advertiser)] = full_id.partition("/")[0]
        for publisher, full_id in connection.execute(text("SELECT publisher, full_id FROM placements")):
            self._ids["publisher", str(publisher)] = full_id.partition("/")[0]

    def of(self, name: str) -> str:
        """``used:campaign:10:EUR`` -> ``used:campaign:acme/summer:EUR``; as it is where nobody told more."""
        parts = name.split(":")
        at = 0 if parts[0] in OWED else 1
        party, serial = _HOLDS.get(parts[at], parts[at]), parts[at + 1]
        parts[at + 1] = self._ids.get((party, serial), serial)
        return ":".join(parts)
