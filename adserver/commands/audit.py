"""``adserver verify``: the books of a data folder, wherever its ledger is."""

from adserver.databases import Unusable
from adserver.domain.changes import Unread
from adserver.ledger.place import place_of
from adserver.ledger.verify import verify
from adserver.options import Wrong
from adserver.settings import Settings


def audit(settings: Settings) -> list[str]:
    """The differences. It prints as it finds: a long audit is not silent. Raises Wrong."""
    if not settings.data.is_dir():
        raise Wrong(f"{settings.data} is not a data folder")
    try:
        return verify(settings.data, place=place_of(settings.data, settings.database))
    except (Unusable, Unread) as error:
        raise Wrong(str(error)) from error
