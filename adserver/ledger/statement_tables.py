"""The tables that statements are made of and kept in (the rest are in ``schema``).

* ``earned``: per line item, placement, month and kind of what was billed: how often, for how much, what of
  it is the publisher's, and the same of what was taken back. Sums over ``events`` and ``entries``.
* ``statements``: closings, each once, as the journal told them. ``stands`` is 0 for one that closed nothing
  (``stating``): kept, so that posting it again closes nothing either.
* ``statement_lines``: the lines of those that stand, as in ``domain.statements.Line``.
* ``credits``: what operators booked for advertisers; each is an entry too, under ``credits.entry_id``.
* ``statement_credits``: on which closed statement each of them was taken off.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    inspect,
    text,
)

from adserver.ledger.columns import NUMBER, keys, numbers, words

METADATA: Final = MetaData()

EARNED_COUNTED: Final = (
    "units",
    "nanos",
    "share_nanos",
    "refunded_units",
    "refunded_nanos",
    "refunded_share_nanos",
)


EARNED: Final = Table(
    "earned",
    METADATA,
    *keys("line_item", "placement", "month"),
    Column("kind", SmallInteger, primary_key=True),
    *numbers(*EARNED_COUNTED),
    sqlite_with_rowid=False,
)

STATEMENTS: Final = Table(
    "statements",
    METADATA,
    Column("party", words(), primary_key=True),
    *keys("month"),
    Column("at_ms", BigInteger, primary_key=True),
    Column("stands", SmallInteger, nullable=False),
    Column("segment", NUMBER, nullable=False),
    *numbers("byte"),
    Column("chain", LargeBinary(16), nullable=False),
    sqlite_with_rowid=False,
)

LINES: Final = Table(
    "statement_lines",
    METADATA,
    Column("party", words(), primary_key=True),
    *keys("month", "line_item", "placement"),
    Column("currency", words(3), nullable=False),
    Column("model", words(), nullable=False),
    *numbers(
        "amount_micros", "impressions", "viewable", "clicks", "conversions", "days", "refunded",
        "gross_nanos", "refunded_nanos", "carried_nanos", "adjusted_nanos", "micros",
    ),
    sqlite_with_rowid=False,
)  # fmt: skip

CREDITS: Final = Table(
    "credits",
    METADATA,
    *keys("advertiser"),
    Column("id", words(), primary_key=True),
    Column("kind", words(), nullable=False),
    Column("currency", words(3), nullable=False),
    *numbers("amount_micros", "at_ms"),
    Column("reason", words(), nullable=False),
    sqlite_with_rowid=False,
)

TAKEN_OFF: Final = Table(
    "statement_credits",
    METADATA,
    *keys("advertiser"),
    Column("id", words(), primary_key=True),
    Column("month", NUMBER, nullable=False),
    sqlite_with_rowid=False,
)

APPEND_ONLY: Final = (STATEMENTS, LINES, CREDITS, TAKEN_OFF)


def prepare(connection: Connection) -> None:
    """Make what is not there; ``earned`` of an older ledger from its events."""
    older = not inspect(connection).has_table(EARNED.name)
    METADATA.create_all(connection)
    if older:
        connection.execute(text(_EARN))


_UNIT: Final = "(e.kind <> 0 OR substr(e.event_id, 15) = x'0000')"
"""A day is the first part of its fee."""
_EARN: Final = f"""
INSERT INTO earned (line_item, placement, month, kind, {", ".join(EARNED_COUNTED)})
SELECT e.line_item, e.placement,
       (CAST(strftime('%Y', e.day * 86400, 'unixepoch') AS INTEGER) - 1970) * 12
           + CAST(strftime('%m', e.day * 86400, 'unixepoch') AS INTEGER) - 1 AS month,
       e.kind, sum({_UNIT}), sum(e.billed_nanos), coalesce(sum(p.amount_nanos), 0),
       sum(r.kind IS NOT NULL AND {_UNIT}), coalesce(sum(r.amount_nanos), 0),
       coalesce(sum(CASE WHEN r.kind IS NULL THEN 0 ELSE p.amount_nanos END), 0)
FROM events e
LEFT JOIN entries p ON p.event_id = e.event_id AND p.kind = e.kind AND p.reversal = 0
LEFT JOIN reversals r ON r.event_id = e.event_id AND r.kind = e.kind
WHERE e.billed_nanos > 0
GROUP BY e.line_item, e.placement, month, e.kind
"""
