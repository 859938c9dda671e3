"""Changes under load: every replaced campaign is live within 2 s, and no decision fails meanwhile.

Two looks at it. A probe campaign, put right behind every change, is asked for until its new text is
answered: that gives the time. And every ad anybody was answered must carry a bid that was in force, at
most 2 s before its decision; the instant of the decision is told by ``expires_at`` (see ``caps``).
"""

from collections import defaultdict
from typing import Final

from loadtests.caps import SKEW_MS
from loadtests.findings import Findings
from loadtests.records import Ad, Change, Decision
from loadtests.terms import World

LIVE_MS: Final = 2000


def check(changes: list[Change], decisions: list[Decision], world: World) -> Findings:
    found = Findings("changes live", needed=("changes", "ads of changed line items"))
    for change in changes:
        found.count("changes")
        found.expect(
            change.status in (200, 201),
            f"{change.campaign}: replacing it was answered {change.status} {change.error}",
        )
        if change.status in (200, 201):
            _check_time(found, change)
    _check_bids(found, changes, decisions, world)
    return found


def _check_time(found: Findings, change: Change) -> None:
    if change.live_ms is None:
        found.expect(False, f"{change.campaign}: a change was not seen live")
        return
    took_ms = change.live_ms - change.received_ms
    found.checked["slowest ms"] = max(found.checked.get("slowest ms", 0), took_ms)
    found.expect(took_ms <= LIVE_MS, f"{change.campaign}: a change was live after {took_ms} ms")


def _check_bids(found: Findings, changes: list[Change], decisions: list[Decision], world: World) -> None:
    versions: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    """Line item -> (may be live from, is surely live from, bid), in order."""
    for name, campaign in world.campaigns.items():
        for item in campaign.line_items:
            versions[f"{name}/{item.id}"].append((0, 0, item.pricing.amount_micros))
    for change in changes:
        if change.status in (200, 201):
            for line_item, rate in change.rates.items():
                surely_ms = change.received_ms + LIVE_MS + SKEW_MS
                versions[line_item].append((change.sent_ms - SKEW_MS, surely_ms, rate))
    for decision, placement, ad in _first_answers(decisions):
        known = versions.get(ad.line_item_id, [])
        if len(known) > 1 and ad.price is not None:
            at_ms = ad.expires_ms - world.placements[f"{decision.publisher}/{placement}"].render_within_ms
            found.count("ads of changed line items")
            message = f"{ad.line_item_id}: a bid of {ad.price.rate_micros} at {at_ms} was not in force"
            found.expect(ad.price.rate_micros in _in_force(known, at_ms), message)


def _first_answers(decisions: list[Decision]) -> list[tuple[Decision, str, Ad]]:
    """Each ad once, as it was answered first."""
    first: dict[str, tuple[Decision, str, Ad]] = {}
    for decision in decisions:
        for slot in decision.slots:
            for ad in slot.ads:
                first.setdefault(ad.event_id, (decision, slot.placement, ad))
    return list(first.values())


def _in_force(versions: list[tuple[int, int, int]], at_ms: int) -> set[int]:
    """The bids a decision at this instant may have been made with: those that may be live, but for those
    that a later one surely replaced."""
    surely = max(number for number, (_, surely_ms, _) in enumerate(versions) if surely_ms <= at_ms)
    return {rate for from_ms, _, rate in versions[surely:] if from_ms <= at_ms}
