"""What was promised: the terms of the laws, read from the campaign files.

The files are read by the catalog's own reader (money, durations and instants are its business), but which
cap binds whom, and what a budget holds, is derived here once more and independently of the server.
"""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from adserver.catalog.folder import read_folder
from adserver.domain.campaign import Advertiser, Budget, Campaign
from adserver.domain.inventory import FeedPolicy, Placement, Publisher
from loadtests.records import Ad


class Cap(Struct, frozen=True):
    """At most ``limit`` of ``event`` per person (or session) in any window of ``per_ms``. ``scope`` says
    whose: an ``advertiser``, ``campaign``, ``line_item`` or ``creative``, ``owner`` is its full id."""

    scope: str
    owner: str
    limit: int
    per_ms: int
    event: str
    session: bool

    def __str__(self) -> str:
        per = "session" if self.session else f"{self.per_ms // 1000} s"
        return f"{self.limit} {self.event} per {per} of {self.scope} {self.owner}"


class Limit(Struct, frozen=True):
    """A budget: ``level`` is line item, campaign or advertiser, ``owner`` its full id."""

    level: str
    owner: str
    period: str
    nanos: int

    def __str__(self) -> str:
        return f"{self.period} budget {self.nanos / 10**9:.6f} of {self.level} {self.owner}"


class World(Struct, frozen=True):
    """Publishers by id, placements, campaigns and line items by full id, advertisers by id."""

    publishers: dict[str, Publisher]
    placements: dict[str, Placement]
    campaigns: dict[str, Campaign]
    advertisers: dict[str, Advertiser]

    def feed(self, publisher: str, placement: str) -> FeedPolicy | None:
        """The policy of a feed; None for any other placement."""
        found = self.placements.get(f"{publisher}/{placement}")
        return (found.feed or FeedPolicy()) if found is not None and found.surface == "feed" else None

    def caps(self) -> Iterator[Cap]:
        """Every cap in force. One of a campaign or advertiser binds all of it; drafts and paused line
        items bind nobody, and do not serve."""
        for name, campaign in self.campaigns.items():
            for item in campaign.line_items:
                if campaign.status != "active" or item.status != "active":
                    continue
                creatives = [f"{name}/{creative.id}" for creative in item.creatives]
                owners = {
                    "advertiser": [campaign.advertiser],
                    "campaign": [name],
                    "line_item": [f"{name}/{item.id}"],
                    "creative": creatives,
                }
                for cap in item.frequency_caps:
                    for owner in owners[cap.scope]:
                        yield Cap(cap.scope, owner, cap.limit, cap.per_ms, cap.event, cap.session)

    def limits(self) -> Iterator[Limit]:
        """Every budget."""
        for name, advertiser in self.advertisers.items():
            yield from _limits("advertiser", name, advertiser.budget)
        for name, campaign in self.campaigns.items():
            yield from _limits("campaign", name, campaign.budget)
            for item in campaign.line_items:
                yield from _limits("line item", f"{name}/{item.id}", item.budget)

    def whom(self, publisher: str, user: str | None, session: str | None, personalised: bool) -> str | None:
        """Whom caps count: the person where consent allows, else the session; None for nobody."""
        if personalised and user:
            return f"user {self.publishers[publisher].user_space or publisher}/{user}"
        return session_name(publisher, session)

    def allowed(self, publisher: str, personalised: bool | None, minor: bool) -> bool:
        """Whether a person may be recognised."""
        if minor:
            return False
        return (
            self.publishers[publisher].consent_default == "granted" if personalised is None else personalised
        )


def session_name(publisher: str, session: str | None) -> str | None:
    return f"session {publisher}/{session}" if session else None


def _limits(level: str, owner: str, budget: Budget) -> Iterator[Limit]:
    if budget.lifetime_nanos is not None:
        yield Limit(level, owner, "lifetime", budget.lifetime_nanos)
    if budget.daily_nanos is not None:
        yield Limit(level, owner, "daily", budget.daily_nanos)


def owners(ad: Ad) -> tuple[tuple[str, str], ...]:
    """Every (scope, full id) that an exposure of this ad counts for."""
    return (
        ("advertiser", ad.advertiser),
        ("campaign", ad.campaign_id),
        ("line_item", ad.line_item_id),
        ("creative", f"{ad.campaign_id}/{ad.creative}"),
    )


def read(folder: Path) -> World:
    """Raises ValueError, naming every problem, for a folder that is not sound."""
    found = read_folder(folder)
    problems = [*found.problems, *found.dangling]
    if problems:
        raise ValueError("; ".join(f"{p.document}: {p.path} {p.message}" for p in problems))
    subjects = [draft.subject for draft in found.drafts]
    return World(
        publishers={s.id: s for s in subjects if isinstance(s, Publisher)},
        placements={s.full_id: s for s in subjects if isinstance(s, Placement)},
        campaigns={f"{s.advertiser}/{s.id}": s for s in subjects if isinstance(s, Campaign)},
        advertisers={s.id: s for s in subjects if isinstance(s, Advertiser)},
    )
