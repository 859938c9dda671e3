"""The ledger's table of who serves from it (``machines``); empty where a ledger is a file.

* ``workers``: who has a number, or had it ever: one is given once. ``machine``: the identity of its data
  folder; ``serves`` and ``gone`` as in ``domain.workers.Peer``; ``seen_ms``: the last sign of life, by the
  database's clock.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, SmallInteger, Table

from adserver.ledger.columns import NUMBER, words
from adserver.ledger.metadata import METADATA

WORKERS: Final = Table(
    "workers",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("machine", words(), nullable=False),
    Column("serves", SmallInteger, nullable=False),
    Column("door", words(), nullable=False),
    Column("gone", SmallInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
)
