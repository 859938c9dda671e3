"""The objects of the catalog as its file holds them, read one by one as a question or a change needs them,
so that neither costs more in a larger catalogue. Of one transaction; what it saw once stays as it was.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import orjson
from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Select, not_, select

from adserver.catalog import dialects
from adserver.catalog.drafts import Draft, Key, digest_of, read
from adserver.catalog.tables import OBJECTS
from adserver.catalog.whole import Held
from adserver.domain.changes import Invalid, Kind, Problem, Stored

_ASKED_AT_ONCE: Final = 500


class Row(Struct, frozen=True):
    """One object as the file holds it; ``body`` is canonical JSON."""

    kind: Kind
    full_id: str
    body: bytes
    etag: str
    archived: bool
    revision: int

    @property
    def key(self) -> Key:
        return (self.kind, self.full_id)


def draft_of(row: Row) -> Draft:
    """Raises Invalid where the file holds a document that this version of the program does not accept."""
    drafts, problems = read(row.kind, row.full_id, orjson.loads(row.body), kept=True)
    if problems:
        where = f"{row.kind} {row.full_id} (in the catalog)"
        raise Invalid([Problem(problem.path, problem.message, where) for problem in problems])
    return drafts[0]


class Objects:
    """As a mapping it gives ``Held``, archived ones too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[Key, Row | None] = {}
        self._held: dict[Key, Held] = {}

    def fetch(self, keys: Iterable[Key]) -> None:
        """Read what will be asked for, all at once."""
        wanted: dict[Kind, list[str]] = defaultdict(list)
        for key in dict.fromkeys(keys):
            if key not in self._rows:
                self._rows[key] = None
                wanted[key[0]].append(key[1])
        for kind, names in wanted.items():
            for first in range(0, len(names), _ASKED_AT_ONCE):
                some = OBJECTS.c.full_id.in_(names[first : first + _ASKED_AT_ONCE])
                for row in self._read(select(OBJECTS).where(OBJECTS.c.kind == kind, some)):
                    self._rows[row.key] = row

    def row(self, key: Key) -> Row | None:
        self.fetch([key])
        return self._rows[key]

    def active_row(self, key: Key) -> Row | None:
        """None also for an archived one."""
        row = self.row(key)
        return None if row is None or row.archived else row

    def get(self, key: Key) -> Held | None:
        row = self.row(key)
        if row is None:
            return None
        if key not in self._held:
            self._held[key] = Held(draft_of(row), row.archived)
        return self._held[key]

    def names(self, kind: Kind, owner: str | None, most: int | None = None) -> list[str]:
        """The full ids of a kind, archived ones too, in their order."""
        query = select(OBJECTS.c.full_id).where(OBJECTS.c.kind == kind)
        return list(self._connection.execute(_of_owner(query, owner).limit(most)).scalars())

    def active(
        self, kind: Kind, owner: str | None = None, after: str = "", most: int | None = None
    ) -> Iterator[Row]:
        """Those that are not archived, in the order of their full ids, behind ``after``."""
        query = select(OBJECTS).where(OBJECTS.c.kind == kind, OBJECTS.c.full_id > after)
        return self._read(_of_owner(query, owner).where(not_(OBJECTS.c.archived)).limit(most))

    def users_of(self, audience: str) -> list[Key]:
        """The campaigns that may target an audience: an advertiser's is of use to its own campaigns, a
        publisher's to everybody's. Only text is compared, so there may be too many of them."""
        owner, _, name = audience.partition("/")
        anybody = self.row(("publisher", owner)) is not None
        named = audience if anybody else name
        return self._campaigns(None if anybody else owner, self._position(named.encode()) > 0)

    def in_other_currency(self, advertiser: str, currency: str) -> list[Key]:
        """The campaigns of an advertiser that may be in another currency, compared as text."""
        said = f'"currency":"{currency}"'.encode()
        return self._campaigns(advertiser, self._position(said) == 0)

    def _position(self, part: bytes) -> ColumnElement[int]:
        return dialects.of(self._connection).position(OBJECTS.c.body, part)

    def _campaigns(self, owner: str | None, where: ColumnElement[bool]) -> list[Key]:
        query = select(OBJECTS.c.full_id).where(OBJECTS.c.kind == "campaign", not_(OBJECTS.c.archived), where)
        return [("campaign", name) for name in self._connection.execute(_of_owner(query, owner)).scalars()]

    def stored(self, row: Row, created: bool = False) -> Stored:
        """An object as callers see it; a publisher with its placements."""
        body = cast(dict[str, object], orjson.loads(row.body))
        etag, revision = row.etag, row.revision
        if row.kind == "publisher":
            placements = [] if row.archived else list(self.active("placement", row.full_id))
            body["placements"] = [orjson.loads(placement.body) for placement in placements]
            etag = digest_of([etag, *(placement.etag for placement in placements)])
            revision = max([revision, *(placement.revision for placement in placements)])
        return Stored(row.kind, row.full_id, body, etag, row.archived, revision, created)

    def _read(self, query: Select[Any]) -> Iterator[Row]:
        return (Row(*row) for row in self._connection.execute(query))


def _of_owner(query: Select[Any], owner: str | None) -> Select[Any]:
    """Narrowed to one owner's, and in order: ``0`` is what follows a slash."""
    if owner is not None:
        query = query.where(OBJECTS.c.full_id > f"{owner}/", OBJECTS.c.full_id < f"{owner}0")
    return query.order_by(OBJECTS.c.full_id)
