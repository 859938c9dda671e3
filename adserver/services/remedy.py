"""One change of a line item that lifts one rule: as it is told, and as the decision is rehearsed with it."""

from typing import Any

import msgspec
from msgspec import Struct

from adserver.engine.snapshot import Entry
from adserver.services.rehearsal import Change


class Remedy(Struct, frozen=True):
    """``told``: ``change`` names the place in the campaign file. ``beaten``: whose
    bid the amount tells."""

    told: dict[str, object]
    change: Change
    beaten: Entry | None = None


def with_item(entry: Entry, **fields: Any) -> Entry:
    """The entry with other fields of its line item."""
    return msgspec.structs.replace(entry, line_item=msgspec.structs.replace(entry.line_item, **fields))


def with_campaign(entry: Entry, **fields: Any) -> Entry:
    """The entry with other fields of its campaign."""
    return msgspec.structs.replace(entry, campaign=msgspec.structs.replace(entry.campaign, **fields))
