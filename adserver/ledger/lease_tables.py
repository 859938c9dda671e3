"""The ledger's tables of leases (``leases`` says what they mean); empty where one process serves alone.

* ``leases``: what each holder was granted of a budget account and day, what is posted of it, and whether it
  wants more than there was (1).
* ``holders``: the processes that serve, by the number of their journal: the revision of the catalogue that
  each has heard of, and since when one that ended has.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Table

from adserver.ledger.columns import NUMBER, words
from adserver.ledger.metadata import METADATA

LEASES: Final = Table(
    "leases",
    METADATA,
    Column("account", words(), primary_key=True),
    Column("day", NUMBER, primary_key=True),
    Column("holder", NUMBER, primary_key=True),
    Column("granted_nanos", BigInteger),
    Column("spent_nanos", BigInteger, nullable=False),
    Column("wanted", NUMBER, nullable=False),
    sqlite_with_rowid=False,
)

HOLDERS: Final = Table(
    "holders",
    METADATA,
    Column("holder", NUMBER, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
)
