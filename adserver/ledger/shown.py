"""``shown`` for a ledger of before it was counted: from the events it holds."""

from typing import Final

from sqlalchemy import Connection, inspect, text

from adserver.domain.decision import EventKind
from adserver.domain.records import Status


def lacks_shown(connection: Connection) -> bool:
    """Whether this is a ledger of before there was ``shown``."""
    inspector = inspect(connection)
    return inspector.has_table("events") and not inspector.has_table("shown")


def count_shown(connection: Connection) -> None:
    """Fill it."""
    connection.execute(text(_COUNT_SHOWN), _KINDS)


_COUNT_SHOWN: Final = """
INSERT INTO shown (line_item, placement, creative, impressions, viewable, clicks, conversions)
SELECT line_item, placement, creative,
       sum(kind = :impression), sum(kind = :viewable), sum(kind = :click), sum(kind = :conversion)
FROM events
WHERE status = :accepted AND test = 0 AND kind IN (:impression, :viewable, :click, :conversion)
  AND (event_id, kind) NOT IN (SELECT event_id, kind FROM reversals)
GROUP BY line_item, placement, creative
"""
_KINDS: Final = {
    "impression": int(EventKind.IMPRESSION),
    "viewable": int(EventKind.VIEWABLE),
    "click": int(EventKind.CLICK),
    "conversion": int(EventKind.CONVERSION),
    "accepted": int(Status.ACCEPTED),
}
