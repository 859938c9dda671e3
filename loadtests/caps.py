"""Law 2 from the answers: per person and cap, outstanding + confirmed in (t - per, t] <= limit.

When the server decided is known exactly: ``expires_at`` is the decision plus the placement's
``render_within`` (API.md, Rendering), and the check that this instant lies within the call that was
answered keeps it honest. When it received an impression or a release is known only to lie between sending
and answer. So an exposure counts at t where it *surely* counts, whatever happened when within its calls:

* decided at or before t, and
* its impression surely received by t: if it was sent within the window; else
* not perhaps released by t, not expired before t, and its impression, if perhaps received by t, sent
  within the window.

Only a decision raises the count, so it is enough to look at the instants of decisions. Counts are
lower bounds: an alarm is always a violation, and with windows longer than the run nothing is missed.
Caps on viewable impressions and clicks bound what is decided after: a decision is wrong where ``limit``
such events were surely received before it. Cost: O(n²) per person and cap, n exposures of that person.
"""

from collections import defaultdict
from collections.abc import Iterable

from msgspec import Struct

from adserver.domain.inventory import Placement
from loadtests.findings import Findings
from loadtests.records import NEVER, Decision, Event, Slot
from loadtests.terms import Cap, World, owners, session_name

SKEW_MS = 20
"""What the two processes' readings of one machine's clock may differ by."""


class Span(Struct, frozen=True):
    """An event the server received somewhere between these instants."""

    earliest_ms: int
    latest_ms: int


class Exposure(Struct):
    """An ad decided for somebody. ``subject``, ``session``: None where nobody, or not known who.
    ``released_ms``: from when on it may have been released."""

    event_id: str
    decided_ms: int
    expires_ms: int
    owners: tuple[tuple[str, str], ...]
    subject: str | None
    session: str | None
    impression: Span | None = None
    viewable: Span | None = None
    click: Span | None = None
    released_ms: int = NEVER

    def counts(self, at_ms: int, per_ms: int) -> bool:
        """Whether it surely counts at an instant (see above)."""
        if self.decided_ms > at_ms:
            return False
        shown = self.impression
        within = shown is None or shown.earliest_ms > at_ms - per_ms
        if shown is not None and shown.latest_ms <= at_ms:
            return within
        if self.released_ms <= at_ms or at_ms > self.expires_ms:
            return False
        return shown is None or shown.earliest_ms > at_ms or within


def check(decisions: list[Decision], events: list[Event], world: World) -> Findings:
    """Law 2 over everything answered."""
    found = Findings("2 frequency cap", needed=("capped exposures", "caps reached"))
    exposures = _exposures(found, decisions, world)
    _join(exposures, events)
    filed = _filed(exposures.values())
    found.count("exposures", len(exposures))
    found.count("people", len({exposure.subject for exposure in exposures.values()}))
    capped: set[str] = set()
    for cap in sorted(set(world.caps()), key=str):
        for who, theirs in filed.get((cap.scope, cap.owner), {}).items():
            if who.startswith("in ") == cap.session:
                capped.update(exposure.event_id for exposure in theirs)
                _check(found, cap, who, theirs)
    found.count("capped exposures", len(capped))
    return found


def _exposures(found: Findings, decisions: list[Decision], world: World) -> dict[str, Exposure]:
    """Each ad once, however often it was answered."""
    exposures: dict[str, Exposure] = {}
    placements: dict[str, tuple[Placement, list[Decision]]] = {}
    for decision in decisions:
        for slot in decision.slots:
            placement = world.placements[f"{decision.publisher}/{slot.placement}"]
            _expose(exposures, placements, decision, slot, placement, world)
    for event_id, exposure in exposures.items():
        _attribute(found, exposure, placements[event_id][1], world)
    return exposures


def _expose(
    exposures: dict[str, Exposure],
    answered: dict[str, tuple[Placement, list[Decision]]],
    decision: Decision,
    slot: Slot,
    placement: Placement,
    world: World,
) -> None:
    for ad in slot.ads:
        answered.setdefault(ad.event_id, (placement, []))[1].append(decision)
        if ad.event_id not in exposures:
            decided_ms = ad.expires_ms - placement.render_within_ms
            exposures[ad.event_id] = Exposure(ad.event_id, decided_ms, ad.expires_ms, owners(ad), None, None)


def _attribute(found: Findings, exposure: Exposure, answered: list[Decision], world: World) -> None:
    """Whose it is: of those whose call was open when it was decided. Several sessions may have asked for
    one page of a feed at that very moment; then nobody knows which one it counts for."""
    at_ms = exposure.decided_ms
    open_calls = [d for d in answered if d.sent_ms - SKEW_MS <= at_ms <= d.received_ms + SKEW_MS]
    found.expect(
        bool(open_calls), f"ad {exposure.event_id}: its expires_at tells of a decision outside its call"
    )
    subjects, sessions = set(), set()
    for d in open_calls:
        allowed = world.allowed(d.publisher, d.personalised, d.minor)
        subjects.add(world.whom(d.publisher, d.user, d.session, allowed))
        sessions.add(session_name(d.publisher, d.session))
    exposure.subject = subjects.pop() if len(subjects) == 1 else None
    exposure.session = sessions.pop() if len(sessions) == 1 else None


def _join(exposures: dict[str, Exposure], events: list[Event]) -> None:
    """The events of each exposure: the call that counted, else all that may have."""
    calls: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        calls[event.event_id, event.kind].append(event)
    for (event_id, kind), tried in calls.items():
        exposure = exposures.get(event_id)
        if exposure is None:
            continue
        if kind == "release":
            exposure.released_ms = min(event.sent_ms for event in tried) - SKEW_MS
        elif span := _span(kind, tried):
            setattr(exposure, kind, span)


def _span(kind: str, tried: list[Event]) -> Span | None:
    """An expired impression was seen, so it counts; other expired events do not."""
    counting = ("accepted", "expired") if kind == "impression" else ("accepted",)
    counted = [event for event in tried if event.verdict in counting]
    if counted:
        return Span(counted[0].sent_ms - SKEW_MS, counted[0].received_ms + SKEW_MS)
    perhaps = [event for event in tried if event.status == 0 or event.verdict == "duplicate"]
    return Span(min(event.sent_ms for event in perhaps) - SKEW_MS, NEVER) if perhaps else None


Filed = dict[tuple[str, str], dict[str, list[Exposure]]]
"""(scope, full id) -> ``for`` a subject or ``in`` a session -> exposures in order of decision."""


def _filed(exposures: Iterable[Exposure]) -> Filed:
    filed: Filed = defaultdict(lambda: defaultdict(list))
    for exposure in sorted(exposures, key=lambda exposure: exposure.decided_ms):
        for owner in exposure.owners:
            if exposure.subject is not None:
                filed[owner][f"for {exposure.subject}"].append(exposure)
            if exposure.session is not None:
                filed[owner][f"in {exposure.session}"].append(exposure)
    return filed


def _check(found: Findings, cap: Cap, who: str, theirs: list[Exposure]) -> None:
    fullest = 0
    for at_ms in dict.fromkeys(exposure.decided_ms for exposure in theirs):
        found.count("instants")
        if cap.event == "impression":
            count = sum(exposure.counts(at_ms, cap.per_ms) for exposure in theirs)
            found.expect(count <= cap.limit, f"{cap}: {count} {who} at {at_ms}")
        else:
            count = sum(_happened(exposure, cap, at_ms) for exposure in theirs)
            found.expect(count < cap.limit, f"{cap}: another ad {who} at {at_ms}, after {count}")
        fullest = max(fullest, count)
    found.count("caps reached", fullest >= cap.limit)


def _happened(exposure: Exposure, cap: Cap, at_ms: int) -> bool:
    """Whether its viewable impression or click was surely received in the window before ``at_ms``."""
    span: Span | None = exposure.viewable if cap.event == "viewable" else exposure.click
    return span is not None and span.latest_ms < at_ms and span.earliest_ms > at_ms - cap.per_ms
