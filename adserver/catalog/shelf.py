"""The objects of the catalog in memory, compiled, following the file.

Invariant: the shelf holds exactly what the file held at ``revision``. Every change of an object carries
the revision that made it, so catching up reads and compiles only what changed since; in a catalogue of
10 000 line items a change of one costs the reading of one document.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final, TypeVar, cast

import orjson
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, select

from adserver.catalog.drafts import Draft, Key, digest_of, read
from adserver.catalog.linking import link_advertiser, link_audience, link_campaign, link_publisher
from adserver.catalog.serials import Serials
from adserver.catalog.tables import CATALOGUE, OBJECTS
from adserver.catalog.whole import Held
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.changes import Invalid, Kind, Problem, Stored
from adserver.domain.inventory import Audience, Publisher

T = TypeVar("T")


class Entry(Struct, frozen=True):
    """One object as the file holds it."""

    held: Held
    etag: str
    revision: int


_PLACEMENTS: Final = "placements"


class Shelf:
    """Not safe for several threads; the store holds its lock."""

    def __init__(self) -> None:
        self.revision = -1
        self.held: dict[Key, Held] = {}
        self._entries: dict[Key, Entry] = {}
        self._names: defaultdict[Kind, list[str]] = defaultdict(list)
        self._linked: dict[Key, tuple[str, object]] = {}

    def catch_up(self, connection: Connection) -> None:
        """Learn what changed in the file since the last time. Raises Invalid where the file holds a
        document that this version of the program does not accept."""
        newest = connection.execute(select(CATALOGUE.c.revision)).scalar_one()
        if newest == self.revision:
            return
        rows = connection.execute(
            select(OBJECTS)
            .where(OBJECTS.c.revision > self.revision)
            .order_by(OBJECTS.c.kind, OBJECTS.c.full_id)
        )
        for row in rows:
            draft = _compile(row.kind, row.full_id, orjson.loads(row.body))
            self.place(Entry(Held(draft, row.archived), row.etag, row.revision))
        self.revision = newest

    def place(self, entry: Entry) -> None:
        """Hold an object, in the place of its earlier state if there was one."""
        key = entry.held.draft.key
        if key not in self._entries:
            insort(self._names[key[0]], key[1])
        self._entries[key] = entry
        self.held[key] = entry.held

    def entry(self, key: Key) -> Entry | None:
        return self._entries.get(key)

    def active(self, kind: Kind, owner: str | None = None, after: str = "") -> Iterator[Entry]:
        """The objects of a kind that are not archived, in the order of their full ids, behind ``after``;
        ``owner`` narrows to those of one advertiser or publisher."""
        names, prefix = self._names[kind], "" if owner is None else f"{owner}/"
        for index in range(bisect_right(names, max(prefix, after)), len(names)):
            if not names[index].startswith(prefix):
                return
            entry = self._entries[kind, names[index]]
            if not entry.held.archived:
                yield entry

    def placements(self, publisher: str) -> list[Entry]:
        """The placements of a publisher that are not archived."""
        return list(self.active("placement", publisher))

    def stored(self, entry: Entry, created: bool = False) -> Stored:
        """An object as callers see it; a publisher with its placements."""
        draft, etag, revision = entry.held.draft, entry.etag, entry.revision
        body = draft.body
        if draft.kind == "publisher":
            placements = [] if entry.held.archived else self.placements(draft.full_id)
            body = body | {_PLACEMENTS: [placement.held.draft.body for placement in placements]}
            etag = digest_of([etag, *(placement.etag for placement in placements)])
            revision = max([revision, *(placement.revision for placement in placements)])
        return Stored(draft.kind, draft.full_id, body, etag, entry.held.archived, revision, created)

    # -- the catalogue of domain values ----------------------------------------------------------

    def advertisers(self, serials: Serials) -> tuple[Advertiser, ...]:
        return self._all("advertiser", link_advertiser, serials)

    def campaigns(self, serials: Serials) -> tuple[Campaign, ...]:
        return self._all("campaign", link_campaign, serials)

    def audiences(self, serials: Serials) -> tuple[Audience, ...]:
        return self._all("audience", link_audience, serials)

    def publishers(self, serials: Serials) -> tuple[Publisher, ...]:
        return tuple(
            link_publisher(
                entry.held.draft,
                [placement.held.draft for placement in self.placements(entry.held.draft.full_id)],
                serials,
            )
            for entry in self.active("publisher")
        )

    def _all(self, kind: Kind, link: Callable[[Draft, Serials], T], serials: Serials) -> tuple[T, ...]:
        return tuple(self._link(entry, link, serials) for entry in self.active(kind))

    def _link(self, entry: Entry, link: Callable[[Draft, Serials], T], serials: Serials) -> T:
        """The linked value, remembered while the document stays the same: serials never change."""
        key = entry.held.draft.key
        etag, value = self._linked.get(key, ("", None))
        if etag != entry.etag:
            value = link(entry.held.draft, serials)
            self._linked[key] = (entry.etag, value)
        return cast(T, value)


def _compile(kind: Kind, full_id: str, body: dict[str, object]) -> Draft:
    drafts, problems = read(kind, full_id, body, kept=True)
    if problems:
        where = f"{kind} {full_id} (in the catalog)"
        raise Invalid([Problem(problem.path, problem.message, where) for problem in problems])
    return drafts[0]


def kept(draft: Draft, body: dict[str, object]) -> Draft:
    """A draft as the shelf keeps it: with the body of the file, without raw user ids."""
    return replace(draft, body=body, users=None, path="")
