"""What all tables of the ledger belong to."""

from typing import Final

from sqlalchemy import MetaData

METADATA: Final = MetaData()
