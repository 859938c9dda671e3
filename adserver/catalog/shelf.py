"""The whole catalogue in memory, compiled and linked, following the file.

Invariant: the shelf holds exactly what the file held at ``revision``. Every change of an object carries
the revision that made it, so catching up reads and compiles only what changed since; in a catalogue of
100 000 line items a change of one costs the reading of one document. Unchanged documents give the very
same values again, which is how whoever compiles them knows.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import Connection, select

from adserver.catalog.drafts import Draft
from adserver.catalog.linking import link_advertiser, link_audience, link_campaign, link_publisher
from adserver.catalog.marks import Marks
from adserver.catalog.objects import Row, draft_of
from adserver.catalog.serials import Serials
from adserver.catalog.tables import OBJECTS, newest
from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.catalogue import Catalogue
from adserver.domain.changes import Kind
from adserver.domain.exchange import ExchangeRates
from adserver.domain.inventory import Audience, Publisher

T = TypeVar("T")
_AT_ONCE: Final = 500


class Kept(Generic[T]):
    """The active objects of a kind, linked. Serials never change, so ``link`` is asked once a version; the
    draft, which is larger than what is made of it, is not kept."""

    def __init__(self, link: Callable[[Draft], T]) -> None:
        self.etags: dict[str, str] = {}
        self._link = link
        self._linked: dict[str, T] = {}
        self._order: list[str] | None = None

    def put(self, name: str, draft: Draft | None, etag: str) -> None:
        """None for an archived one."""
        if (draft is None) == (name in self._linked):
            self._order = None
        if draft is None:
            self._linked.pop(name, None)
            self.etags.pop(name, None)
        else:
            self._linked[name] = self._link(draft)
            self.etags[name] = etag

    def values(self) -> tuple[T, ...]:
        """In the order of full ids; an unchanged object gives the very same value again."""
        if self._order is None:
            self._order = sorted(self._linked)
        return tuple(map(self._linked.__getitem__, self._order))


class Publishers:
    """As ``Kept``, but of several documents each: its own and its placements'."""

    def __init__(self, serials: Serials) -> None:
        self._serials = serials
        self._drafts: dict[str, Draft] = {}
        self._placements: dict[str, dict[str, Draft]] = defaultdict(dict)
        self._linked: dict[str, Publisher] = {}

    def put(self, name: str, draft: Draft | None, etag: str) -> None:
        _put(self._drafts, name, draft)
        self._linked.pop(name, None)

    def put_placement(self, name: str, draft: Draft | None) -> None:
        owner = name.partition("/")[0]
        _put(self._placements[owner], name, draft)
        self._linked.pop(owner, None)

    def values(self) -> tuple[Publisher, ...]:
        for name in self._drafts.keys() - self._linked.keys():
            placements = list(self._placements[name].values())
            self._linked[name] = link_publisher(self._drafts[name], placements, self._serials)
        return tuple(self._linked[name] for name in sorted(self._drafts))


def _put(drafts: dict[str, Draft], name: str, draft: Draft | None) -> None:
    if draft is None:
        drafts.pop(name, None)
    else:
        drafts[name] = draft


class Shelf:
    """Not safe for several threads; the store holds its lock. ``serials``: refreshed before catching up."""

    def __init__(self, serials: Serials) -> None:
        self.revision = -1
        self.marks = Marks()
        self.advertisers = Kept[Advertiser](lambda draft: link_advertiser(draft, serials))
        self.campaigns = Kept[Campaign](lambda draft: link_campaign(draft, serials))
        self.audiences = Kept[Audience](lambda draft: link_audience(draft, serials))
        self.publishers = Publishers(serials)
        self.rates = Kept[ExchangeRates](lambda draft: cast(ExchangeRates, draft.subject))

    def catch_up(self, connection: Connection) -> None:
        """Learn what changed in the file since the last time. Raises Invalid where the file holds a
        document that this version of the program does not accept."""
        revision = newest(connection)
        if revision == self.revision:
            return
        query = select(OBJECTS).where(OBJECTS.c.revision > self.revision)
        with connection.execute(query.execution_options(yield_per=_AT_ONCE)) as changed:
            self.take((Row(*row) for row in changed), revision)

    def take(self, rows: Iterable[Row], revision: int) -> None:
        """Hold these objects, which are all that changed up to ``revision``."""
        for row in rows:
            self._place(row)
        self.revision = revision

    def catalogue(self, members: Mapping[bytes, tuple[str, ...]]) -> Catalogue:
        """All that is held and not archived; its digest is as ``digest_of_all`` finds it in the file."""
        return Catalogue(
            revision=self.revision,
            advertisers=self.advertisers.values(),
            campaigns=self.campaigns.values(),
            publishers=self.publishers.values(),
            audiences=self.audiences.values(),
            members=members,
            rates=next(iter(self.rates.values()), None),
            digest=self.marks.digest,
        )

    def _place(self, row: Row) -> None:
        """Hold an object, in the place of its earlier state if there was one."""
        draft = None if row.archived else draft_of(row)
        if row.kind == "placement":
            self.publishers.put_placement(row.full_id, draft)
        else:
            kinds: dict[Kind, Kept[Any] | Publishers] = {
                "advertiser": self.advertisers,
                "campaign": self.campaigns,
                "audience": self.audiences,
                "publisher": self.publishers,
                "rates": self.rates,
            }
            kinds[row.kind].put(row.full_id, draft, row.etag)
        self.marks.put(row.kind, row.full_id, row.etag, row.archived)
