"""The table of conversions, and what recording and taking back ask of it.

Each that an advertiser told of stands there once, by the key of its own id; where it is owed to an ad, with
the ad (``touch``) and the kind of its event (``touched``), and then it is also an event.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    SmallInteger,
    Table,
    inspect,
    or_,
    select,
)

from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind
from adserver.ledger.columns import NUMBER, words
from adserver.ledger.metadata import METADATA

CONVERSIONS: Final = Table(
    "conversions",
    METADATA,
    Column("key", LargeBinary(16), primary_key=True),
    Column("advertiser", NUMBER, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("happened_ms", BigInteger, nullable=False),
    Column("called", words(), nullable=False),
    Column("value_micros", BigInteger, nullable=False),
    Column("currency", words(3), nullable=False),
    Column("touch", LargeBinary(16), index=True),
    Column("touched", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)


def row_of(found: Converted) -> tuple[bytes, int, int, int, str, int, str, bytes | None, int]:
    """In the order of the columns."""
    return (
        found.key, found.advertiser, found.at_ms, found.happened_ms, found.called, found.value_micros,
        found.currency, found.touch, found.touched,
    )  # fmt: skip


def posted(connection: Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Those of these few keys that are there."""
    key = CONVERSIONS.c.key
    return set(connection.execute(select(key).where(key.in_(keys))).scalars())


def all_posted(connection: Connection) -> dict[tuple[bytes, int], tuple[Any, ...]]:
    """By (key, kind); none in a ledger of an earlier version."""
    if not inspect(connection).has_table(CONVERSIONS.name):
        return {}
    rows = connection.execute(select(CONVERSIONS))
    return {(row[0], int(EventKind.CONVERSION)): tuple(row[1:]) for row in rows}


def owed_to(connection: Connection, event_ids: Sequence[bytes]) -> list[bytes]:
    """The event ids of what is owed to these few ads."""
    found = select(CONVERSIONS).where(CONVERSIONS.c.touch.in_(event_ids))
    told = (Converted(*row) for row in connection.execute(found))
    return [one.event_id for one in told if one.event_id is not None]


def ads_of(connection: Connection, event_ids: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """(event id, ad) of those of these few events that are conversions: found by the part of the key that
    their ids have."""
    key, nothing, all_ones = CONVERSIONS.c.key, bytes(6), b"\xff" * 6
    among = [key.between(ident[6:] + nothing, ident[6:] + all_ones) for ident in event_ids]
    found = connection.execute(select(CONVERSIONS).where(or_(*among), CONVERSIONS.c.touch.is_not(None)))
    wanted, told = set(event_ids), (Converted(*row) for row in found)
    return [(one.event_id, one.touch) for one in told if one.touch and one.event_id in wanted]
