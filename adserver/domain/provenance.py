"""Where and on what a request was made, as coarsely as reports tell it: a country and a kind of device.

Both travel with a decision into its tokens and events, so that an event is reported under what its decision
knew, and posting looks nothing up. Neither says anything about a person.
"""

import re
from typing import Final

DEVICES: Final = ("", "mobile", "tablet", "desktop", "tv", "other")
"""By number, in tokens, journal and ledger: only ever appended to. The first is unknown, the last any kind
that has no number."""
OTHER: Final = DEVICES.index("other")
_NUMBERS: Final = {name: number for number, name in enumerate(DEVICES)}
_COUNTRY: Final = re.compile(r"[A-Z]{2}\Z", re.ASCII)


def country_of(values: tuple[str, ...]) -> str:
    """Of the fact ``countries``: two letters (ISO 3166-1), empty where it is none."""
    return values[0] if values and _COUNTRY.match(values[0]) else ""


def device_of(values: tuple[str, ...]) -> int:
    """Of the fact ``devices``: its number."""
    return _NUMBERS.get(values[0], OTHER) if values else 0
