"""Removing who saw what, when it is old: a part at a time, beside posting.

The mark from which decision on people are whole is moved with the first part, in its transaction; so reports
and audits never rely on what is about to go.
"""

from typing import Final

from sqlalchemy import Engine, delete, select

from adserver.ledger import inserts
from adserver.ledger.dialects import lock_for_writing
from adserver.ledger.rolled import PEOPLE, PEOPLE_SINCE, mark

PART: Final = 10_000
"""Rows removed in one transaction."""
_QUARTER_MS: Final = 900_000


def forget_people(engine: Engine, before_ms: int) -> bool:
    """Remove people who saw ads decided before, to the quarter of an hour, at most ``PART`` of them; whether
    there may be more."""
    before_ms -= before_ms % _QUARTER_MS
    if before_ms <= 0:
        return False
    people = PEOPLE.c.event_id
    oldest = select(people).where(people < before_ms.to_bytes(6, "big")).order_by(people).limit(PART)
    with engine.begin() as connection:
        lock_for_writing(connection)
        if mark(connection, PEOPLE_SINCE) < before_ms:
            inserts.set_mark(connection, PEOPLE_SINCE, before_ms)
        return connection.execute(delete(PEOPLE).where(people.in_(oldest))).rowcount == PART
