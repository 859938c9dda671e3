"""Auction revenue against the offline optimum: what somebody could earn who knew all of the traffic.

A linear program (HiGHS) divides the places that guaranteed line items left in the very run among the bidders
that may have them, under the same laws and promises:

* a place is filled once, and a line item stands once in a request;
* budgets of line items, campaigns and advertisers, daily and in all;
* caps of line items, of each person, in every sliding window (by when was asked, as the impression follows);
* what is paced ``even`` by the day runs no further ahead of its plan than ``_TOLERANCE`` of it, looked at
  every six hours. The plan is even over the traffic that came, or over the clock, whichever is more by then.

What is relaxed makes it an upper bound of the integer optimum: ads may be divided, it knows beforehand what
is rendered, what was reserved and not rendered takes no room, distances in feeds bar nobody, what is ``asap``
may wait, and it need not rank by bids. Clicks to come are not known to it: they are worth price times rate.

It charges bids, so it bounds what any price rule earns: whoever pays less for an impression might have had
that part of it at the bid. A run's side is what was billed. But whether a view or a click came is chance, so
of who pays for them it is what impressions were worth before. Only where the optimum spends the whole budget,
what was billed is counted again, for a budget is spent sooner with luck, and later without. Chosen by the
optimum, which knows no luck, neither is biased (a stopped sum of expectations has the mean of what came:
Doob). The optimum knows rates, which a server learns from few clicks: with few, that is the larger part of
what lies between them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from adserver.domain.books import LineItemTotals
from adserver.domain.campaign import Budget, LineItem
from adserver.engine import localtime
from adserver.simulation.config import Config
from adserver.simulation.run import Found
from loadtests.program import STEP_MS, Key, Program, Request, caps_of, fill, requests_of, slide
from loadtests.supply import Slot

_EARLY_MS: Final = 3600_000
"""A day's plan ends so much before the day (``services.traffic``)."""
_TOLERANCE: Final = 0.02
_SPENT: Final = 0.99
_GOAL: Final = 0.97


def worth_nanos(item: LineItem, config: Config) -> float:
    """What an impression is expected to earn."""
    amount, readers = item.pricing.amount_micros, config.readers
    if item.pricing.model == "cpm":
        return amount
    if item.pricing.model == "vcpm":
        return amount * readers.viewable
    return amount * 1000 * readers.line_items.get(item.full_id, readers.clicks)


def behind_guaranteed(found: Found, told: list[Slot]) -> list[Slot]:
    """What was left to the auction: the same, without the places where guaranteed ads were shown."""
    bidders = {serial for serial, (_, item) in found.items.items() if item.priority == "auction"}
    return left_to(bidders, told, found.play.record.sure)


def left_to(serials: set[int], told: list[Slot], shown: Counter[tuple[int, int, int]]) -> list[Slot]:
    """The places that some line items may have, without so many that others had: ``shown`` by place."""
    left = []
    for slot in told:
        count = slot.count - shown[slot.place]
        mine = tuple(serial for serial in slot.eligible if serial in serials)
        if count > 0 and mine:
            left.append(replace(slot, eligible=mine, count=count))
    return left


# -- the optimum -----------------------------------------------------------------------------------


def best_revenue(found: Found, told: list[Slot]) -> Counter[int] | None:
    """Serial -> nanos that the auction's line items are expected to earn at most, of places ``told``."""
    program, worth = programmed(found, told)
    best = program.most(worth)
    if best is None:
        return None
    earned: Counter[int] = Counter()
    for key, nanos in best.items():
        earned[key[0]] += round(nanos)
    return earned


def programmed(found: Found, told: list[Slot]) -> tuple[Program, dict[Key, float]]:
    """The program, and what each of its impressions is worth."""
    requests = requests_of(found.config, found.items.values(), told)
    program, mine, _ = without_caps(found, told, requests)
    for serial, keys in mine.items():
        for cap in caps_of(found.items[serial][1]):
            slide(program, keys, cap)
    return program, worths(found, mine)


def without_caps(
    found: Found, told: list[Slot], requests: Counter[Request], weight: float = 1.0
) -> tuple[Program, dict[int, list[Key]], int]:
    """(the program, its variables by line item, how many rows are of requests alone). Those that follow, of
    budgets and plans, tie people together. ``weight``: how often each request came."""
    config, program = found.config, Program()
    bids = bids_of(found)
    mine: defaultdict[int, list[Key]] = defaultdict(list)
    single = singles(found)
    for request, times in requests.items():
        fill(program, mine, request, times * weight, single)
    alone = len(program.bounds)
    _budgets(program, found, mine, bids)
    shares = _shares(config, told)
    for serial, keys in mine.items():
        item = found.items[serial][1]
        if item.pacing == "even" and item.budget.daily_nanos is not None:
            _paced(program, config, keys, bids[serial], item.budget.daily_nanos, shares)
    return program, mine, alone


def bids_of(found: Found) -> dict[int, float]:
    """What an impression of each bidder is worth."""
    items = {serial: item for serial, (_, item) in found.items.items() if item.priority == "auction"}
    return {serial: worth_nanos(item, found.config) for serial, item in items.items()}


def worths(found: Found, mine: dict[int, list[Key]]) -> dict[Key, float]:
    bids = bids_of(found)
    return {key: bids[serial] for serial, keys in mine.items() for key in keys}


def singles(found: Found) -> set[int]:
    """Those that stand once in a request."""
    return {serial for serial, (campaign, _) in found.items.items() if not campaign.repeat_in_request}


def _budgets(program: Program, found: Found, mine: dict[int, list[Key]], bids: dict[int, float]) -> None:
    """At every level, of each day and in all."""
    advertisers = found.play.spend.of_advertisers if found.play is not None else {}
    bound: defaultdict[tuple[Any, ...], list[tuple[Key, float]]] = defaultdict(list)
    amounts: dict[tuple[Any, ...], int] = {}
    for serial, keys in mine.items():
        campaign, item = found.items[serial]
        levels: list[tuple[tuple[str, str], Budget]] = [
            (("line_item", item.full_id), item.budget),
            (("campaign", f"{campaign.advertiser}/{campaign.id}"), campaign.budget),
            (("advertiser", campaign.advertiser), advertisers.get(campaign.advertiser, Budget())),
        ]
        # Of its own budget, what is not enough for a whole impression is spent by nobody.
        unit = max(item.pricing.amount_micros, 1) if item.pricing.model == "cpm" else 1
        for key in keys:
            day = localtime.day(campaign.timezone, key[1][1])
            for level, budget in levels:
                for when, nanos in ((day, budget.daily_nanos), (-1, budget.lifetime_nanos)):
                    if nanos is not None:
                        idle = nanos % unit if level[0] == "line_item" else 0
                        amounts[*level, when] = nanos - idle
                        bound[*level, when].append((key, bids[serial]))
    for account, terms in bound.items():
        program.at_most(terms, amounts[account])


def _shares(config: Config, told: list[Slot]) -> dict[int, float]:
    """End of a step -> how much of its day is due by then."""
    came: Counter[int] = Counter()
    whole: Counter[int] = Counter()
    for slot in told:
        _, _, end_ms = localtime.day_span(config.timezone, slot.at_ms)
        came[slot.at_ms - (slot.at_ms - config.start_ms) % STEP_MS] += slot.count
        if slot.at_ms < end_ms - _EARLY_MS:
            whole[end_ms] += slot.count
    shares, so_far = dict[int, float](), Counter[int]()
    for step_ms in sorted(came):
        _, start_ms, end_ms = localtime.day_span(config.timezone, step_ms)
        until_ms = step_ms + STEP_MS
        so_far[end_ms] += came[step_ms]
        by_clock = (until_ms - start_ms) / (end_ms - start_ms)
        by_traffic = so_far[end_ms] / whole[end_ms] if whole[end_ms] else 1.0
        shares[until_ms] = min(max(by_clock, by_traffic) + _TOLERANCE, 1.0)
    return shares


def _paced(
    program: Program, config: Config, keys: list[Key], bid: float, daily: int, shares: dict[int, float]
) -> None:
    """What is spent by the end of a step is a variable: what was before it, and what it adds."""
    steps: defaultdict[int, list[Key]] = defaultdict(list)
    for key in keys:
        steps[key[1][1] - (key[1][1] - config.start_ms) % STEP_MS + STEP_MS].append(key)
    before: tuple[Any, int] | None = None
    for until_ms in sorted(steps):
        day = localtime.day(config.timezone, until_ms - 1)
        spent = ("spent", keys[0][0], until_ms)
        terms = [*((key, bid) for key in steps[until_ms]), (spent, -1.0)]
        if before is not None and before[1] == day:
            terms.append((before[0], 1.0))
        program.at_most(terms, 0.0)
        # One unit ahead of the plan is in time.
        program.at_most([(spent, 1.0)], shares[until_ms] * daily + bid)
        before = spent, day


# -- the run ---------------------------------------------------------------------------------------


def earned(found: Found, best: Counter[int]) -> Counter[int]:
    """Serial -> what the run is to be judged by, beside the ``best`` there was."""
    mine: Counter[int] = Counter()
    for serial, (_, item) in found.items.items():
        if item.priority == "auction":
            totals = found.days.get((serial, -1), LineItemTotals(serial))
            worth = round(totals.impressions * worth_nanos(item, found.config))
            sure = item.pricing.model == "cpm" or best[serial] >= _SPENT * _whole(found, item)
            mine[serial] = totals.billed_nanos if sure else worth
    return mine


def _whole(found: Found, item: LineItem) -> float:
    """What a line item may spend in the run."""
    daily, lifetime = item.budget.daily_nanos, item.budget.lifetime_nanos
    days = float("inf") if daily is None else daily * found.config.days
    return min(days, float("inf") if lifetime is None else lifetime)


def lines(found: Found, best: Counter[int], most: float) -> Iterator[str]:
    """Of the report: a table by line item, and all of it as a share of the ``most`` there was."""
    mine = earned(found, best)
    yield "| auction line item | model | pacing | earned | in the optimum |"
    yield "|---|---|---|--:|--:|"
    for serial in sorted(best, key=lambda one: (mine[one] - best[one], one)):
        item = found.items[serial][1]
        terms = f"{item.pricing.model} {item.pricing.amount_micros / 1e6:g} | {item.pacing}"
        yield f"| {item.full_id} | {terms} | {mine[serial] / 1e9:,.2f} | {best[serial] / 1e9:,.2f} |"
    yield f"| all | | | {mine.total() / 1e9:,.2f} | {most / 1e9:,.2f} |"
    yield ""
    yield judged(mine, most)


def judged(mine: Counter[int], most: float) -> str:
    """A verdict."""
    share = mine.total() / (most or 1)
    verdict = "kept" if share >= _GOAL else "NOT KEPT"
    return f"Auction revenue of the optimum: {share:.2%}, goal >= {_GOAL:.0%}: {verdict}."
