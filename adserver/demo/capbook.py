"""Law 2 from the answers alone: what each person was given, against the caps as the campaign files say them.

A client does not know at which instant the server decided or counted, only instants before and after. So
an earlier exposure counts here only where it must count at every instant that is possible: it was answered
before this one was asked for, was not given back, and either has not been shown and is not over, or was
shown within the window even if that was as early as the moment the client began to tell. What offends by
these books offends indeed; what slips between the instants is found by the audit of the journal.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from adserver.domain.campaign import FrequencyCap
from adserver.domain.catalogue import Catalogue

Counter = tuple[str, ...]


class Exposure(Struct):
    """``shown_ms``: when its impression began to be told, -1 before; ``given_back``: a release was asked."""

    received_ms: int
    expires_ms: int
    shown_ms: int = -1
    given_back: bool = False

    def counts(self, asked_ms: int, answered_ms: int, per_ms: int) -> bool:
        if self.given_back or self.received_ms > asked_ms:
            return False
        if self.shown_ms >= 0:
            return self.shown_ms > answered_ms - per_ms
        return self.expires_ms >= answered_ms


class CapBook:
    """``tell`` hears of every offence. ``exposures`` were checked; ``people`` saw them; ``full``: how many
    (person, cap) pairs came to their limit."""

    def __init__(self, catalogue: Catalogue, tell: Callable[[str], None]) -> None:
        self.exposures = self.full = 0
        self._tell = tell
        self._caps = caps_of(catalogue)
        self._seen: defaultdict[Counter, list[Exposure]] = defaultdict(list)
        self._people: set[str] = set()

    @property
    def people(self) -> int:
        return len(self._people)

    def take(
        self, ad: dict[str, Any], person: str | None, session: str, asked_ms: int, answered_ms: int
    ) -> Exposure:
        """One ad of an answer. ``person``: with its user space, None without consent."""
        expires_ms = round(datetime.fromisoformat(ad["expires_at"]).timestamp() * 1000)
        exposure = Exposure(answered_ms, expires_ms)
        self._people.add(person or session)
        for key, caps in binding(self._caps, ad):
            counters = {cap.session: (*key, session if cap.session else person or session) for cap in caps}
            for cap in caps:
                self._judge(ad, cap, self._seen[counters[cap.session]], asked_ms, answered_ms)
            for counter in set(counters.values()):
                self._seen[counter].append(exposure)
        self.exposures += 1
        return exposure

    def _judge(
        self, ad: dict[str, Any], cap: FrequencyCap, seen: list[Exposure], asked_ms: int, answered_ms: int
    ) -> None:
        counted = sum(exposure.counts(asked_ms, answered_ms, cap.per_ms) for exposure in seen)
        if counted + 1 == cap.limit:
            self.full += 1
        if counted >= cap.limit:
            self._tell(
                f"{ad['advertiser']}/{ad['campaign']}/{ad['line_item']}: shown again to somebody who had "
                f"{counted}, cap {cap.limit} per {cap.per_ms} ms by {cap.scope}"
            )


def caps_of(catalogue: Catalogue) -> dict[Counter, list[FrequencyCap]]:
    """Scope and what it names -> its caps. A cap binds everything in its scope, whichever line item says
    it. Those on viewable impressions and clicks are left to the journal's audit."""
    found: defaultdict[Counter, list[FrequencyCap]] = defaultdict(list)
    for campaign in catalogue.campaigns:
        for item in campaign.line_items:
            named = {
                "line_item": item.full_id,
                "creative": item.full_id,
                "campaign": f"{campaign.advertiser}/{campaign.id}",
                "advertiser": campaign.advertiser,
            }
            for cap in item.frequency_caps:
                if cap.event == "impression":
                    found[cap.scope, named[cap.scope]].append(cap)
    return dict(found)


def binding(
    caps: dict[Counter, list[FrequencyCap]], ad: dict[str, Any]
) -> Iterator[tuple[Counter, list[FrequencyCap]]]:
    """Of ``caps_of``, those of an ad that was answered, by what they count."""
    campaign = f"{ad['advertiser']}/{ad['campaign']}"
    item = f"{campaign}/{ad['line_item']}"
    for key in (("line_item", item), ("campaign", campaign), ("advertiser", ad["advertiser"])):
        if found := caps.get(key):
            yield key, found
    if found := caps.get(("creative", item)):
        yield ("creative", item, ad["creative"]["id"]), found
