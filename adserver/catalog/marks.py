"""What the catalogue holds as digests, which tell whether something made of it is still right."""

from hashlib import blake2b
from typing import Final

from sqlalchemy import Connection, select

from adserver.catalog.drafts import Key
from adserver.catalog.tables import OBJECTS
from adserver.domain.changes import Kind

_MARK_BYTES: Final = 16


class Marks:
    """A number for every object and its state, and their sums, which follow the file change by change."""

    def __init__(self) -> None:
        self._sum = 0
        self._of: dict[Key, tuple[int, int]] = {}
        self._owners: dict[str, int] = {}

    @property
    def digest(self) -> str:
        """Of every object and its state, as ``digest_of_all`` finds it in the file."""
        return _shown(self._sum)

    def owners(self) -> dict[str, str]:
        """Advertiser -> digest of its document and its campaigns', archived ones left out; of those that
        have any."""
        return {name: _shown(total) for name, total in self._owners.items()}

    def put(self, kind: Kind, full_id: str, etag: str, archived: bool) -> None:
        owned = kind in ("advertiser", "campaign") and not archived
        mark, owner = _mark(kind, full_id, etag, archived), full_id.partition("/")[0]
        before, owned_before = self._of.get((kind, full_id), (0, 0))
        self._of[kind, full_id] = mark, mark * owned
        self._sum += mark - before
        total = self._owners.get(owner, 0) + mark * owned - owned_before
        if total:
            self._owners[owner] = total
        else:
            self._owners.pop(owner, None)


def digest_of_all(connection: Connection) -> str:
    """Of every object and its state. A sum, so that a shelf can follow it change by change."""
    rows = connection.execute(select(OBJECTS.c.kind, OBJECTS.c.full_id, OBJECTS.c.etag, OBJECTS.c.archived))
    return _shown(sum(_mark(*row) for row in rows))


def _mark(kind: str, full_id: str, etag: str, archived: bool) -> int:
    state = blake2b(f"{kind} {full_id} {etag} {archived}".encode(), digest_size=_MARK_BYTES).digest()
    return int.from_bytes(state)


def _shown(marks: int) -> str:
    return f"{marks % (1 << 8 * _MARK_BYTES):0{2 * _MARK_BYTES}x}"
