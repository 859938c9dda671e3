"""``adserver verify``: the books of a data folder, wherever its ledger is."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from adserver.databases import Unusable, reason
from adserver.domain.changes import Unread
from adserver.ledger.place import place_of
from adserver.ledger.verify import verify
from adserver.options import Wrong
from adserver.settings import Settings


def audit(settings: Settings, others: Sequence[Path] = ()) -> list[str]:
    """The differences; ``others``: as ``verify`` has them. It prints as it finds: a long audit is not silent.
    Raises Wrong."""
    for folder in (settings.data, *others):
        if not folder.is_dir():
            raise Wrong(f"{folder} is not a data folder")
    try:
        return verify(settings.data, place=place_of(settings.data, settings.database), others=others)
    except (Unusable, Unread) as error:
        raise Wrong(str(error)) from error
    except (DBAPIError, sqlite3.Error) as error:
        # A driver's own where rows are streamed.
        raise Wrong(f"the ledger cannot be read: {reason(error)}") from error
