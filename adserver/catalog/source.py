"""The catalogue as it is read by who builds snapshots: what changed is told by digests, and documents of
advertisers are read when they are asked for, and not kept.

So a change costs the reading of one advertiser's documents, and a start, for who still has what was made of
them, the reading of digests.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, select

from adserver.catalog.drafts import Draft
from adserver.catalog.linking import link_advertiser, link_campaign, wanted_identities, wanted_versions
from adserver.catalog.members import Membership
from adserver.catalog.objects import Objects, draft_of
from adserver.catalog.opening import open_place, reading
from adserver.catalog.serials import Lineage, Serials
from adserver.catalog.shelf import Shelf
from adserver.catalog.tables import OBJECTS, newest
from adserver.databases import Place
from adserver.domain import limits
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.catalogue import Catalogue

_OWNED: Final = ("advertiser", "campaign")
_PART: Final = 8
"""Where more than one in so many advertisers is asked for, all serials are read at once."""


Known = Mapping[tuple[str, str], Campaign]
"""Campaigns as they were read before, by full id and etag."""


class Documents(Struct, frozen=True):
    """Of an advertiser: its own, and its campaigns' with their etags, archived ones left out."""

    advertiser: Advertiser
    campaigns: list[Campaign]
    etags: list[str]


class Source:
    """Of the catalog at ``place``. Not safe for several threads."""

    def __init__(self, place: Place) -> None:
        self._engine = open_place(place, limits.DATABASE_PATIENCE_LONG_S)
        self._serials = Serials()
        self._shelf = Shelf(self._serials)
        self._membership = Membership()
        self._lineage = Lineage()

    def close(self) -> None:
        self._engine.dispose()

    def revision(self) -> int:
        """The newest revision."""
        with reading(self._engine) as connection:
            return newest(connection)

    @contextmanager
    def state(self) -> Iterator["State"]:
        """The file as it is now. Raises Invalid where it holds a document that this version of the program
        does not accept."""
        with reading(self._engine) as connection:
            self._catch_up(connection)
            yield State(connection, self._rest(connection), self._shelf.marks.owners(), self._lineage)

    def _catch_up(self, connection: Connection) -> None:
        shelf, revision = self._shelf, newest(connection)
        if revision == shelf.revision:
            return
        # By revision alone, of which there is an index: by kind as well, SQLite would read them all.
        of = OBJECTS.c
        query = select(of.kind, of.full_id, of.etag, of.archived).where(of.revision > shelf.revision)
        states, objects = connection.execute(query).all(), Objects(connection)
        rows = [row for kind, name, *_ in states if kind not in _OWNED and (row := objects.row((kind, name)))]
        drafts = [draft_of(row) for row in rows if not row.archived]
        self._serials.learn(connection, [name for draft in drafts for name in wanted_identities(draft)])
        shelf.take(rows, revision)
        for kind, name, etag, archived in states:
            shelf.marks.put(kind, name, etag, archived)

    def _rest(self, connection: Connection) -> Catalogue:
        shelf = self._shelf
        audiences = shelf.audiences.values()
        etags = [shelf.audiences.etags[audience.full_id] for audience in audiences]
        return shelf.catalogue(self._membership.read(connection, zip(audiences, etags, strict=True)))


class State:
    """One state of the file. ``rest``: the catalogue without advertisers and campaigns; ``owners``: the
    advertisers, each with a digest of its documents."""

    def __init__(
        self, connection: Connection, rest: Catalogue, owners: dict[str, str], lineage: Lineage
    ) -> None:
        self.rest, self.owners = rest, owners
        self._connection = connection
        self._lineage = lineage

    def lineage(self) -> tuple[int, str]:
        """The newest row of serials, and the digest of all up to it."""
        self._lineage.follow(self._connection)
        return self._lineage.last, self._lineage.digest

    def lineages(self, wanted: Iterable[int]) -> dict[int, str]:
        """The digest of the serials up to each of these rows; not for rows that are not there."""
        found = {}
        self._lineage.begin()
        for last in sorted(set(wanted)):
            self._lineage.follow(self._connection, last)
            found[self._lineage.last] = self._lineage.digest
        return found

    def documents(self, wanted: Mapping[str, Known]) -> Iterator[Documents]:
        """Of these advertisers, and what is known of each. Raises Invalid; KeyError for campaigns of an
        advertiser that is not there."""
        serials, many = Serials(), len(wanted) * _PART > len(self.owners)
        if many:
            serials.refresh(self._connection)
        for name, known in wanted.items():
            objects = Objects(self._connection)
            row = objects.active_row(("advertiser", name))
            if row is None:
                raise KeyError(name)
            rows = list(objects.active("campaign", name))
            owner, *drafts = map(
                draft_of, (row, *(row for row in rows if (row.full_id, row.etag) not in known))
            )
            if not many:
                self._learn(serials, (owner, *drafts))
            linked = {draft.full_id: link_campaign(draft, serials) for draft in drafts}
            campaigns = [linked.get(row.full_id) or known[row.full_id, row.etag] for row in rows]
            yield Documents(link_advertiser(owner, serials), campaigns, [row.etag for row in rows])

    def _learn(self, serials: Serials, drafts: Iterable[Draft]) -> None:
        listed = list(drafts)
        for wanted in (wanted_identities, lambda draft: wanted_versions(draft, serials)):
            serials.learn(self._connection, [name for draft in listed for name in wanted(draft)])
