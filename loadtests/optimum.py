"""How near the server comes to what could have been had, by referees who know all of the traffic beforehand.

    python -m loadtests.optimum docs/simulation/week.yaml --given-back

* Guaranteed goals (of impressions, or of what impressions are expected to bring) against a **maximum flow**:
  line item -> (line item, person, window of its cap) -> request, where it may stand once -> what a person
  saw, each impression once (scipy's Dinic). Windows stand still there and slide in the law, so the flow may
  have what no server may give. Where the server stays behind it, a linear program whose windows slide
  (``loadtests.program``) is the judge: the same flow under the same laws. Places that were shown the ads of
  a promised *share* are not there for goals. Beside it the flow where nothing is delivered before its plan
  has it: who keeps a pace cannot use today's traffic for tomorrow.
* Revenue of the auction against a **linear program** (``loadtests.auction``), of many places a bound on it
  person by person (``loadtests.prices``).
* What is reserved and never rendered, against the same traffic with all of that given back at once.

Needs scipy, which the server does not.
"""

import argparse
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_flow

from adserver.domain.books import LineItemTotals
from adserver.domain.campaign import FrequencyCap, LineItem
from adserver.engine import curves, localtime
from adserver.engine.pacing import plan_to_date
from adserver.simulation import summary, tables
from adserver.simulation.config import Config, read_config
from adserver.simulation.run import Found, simulate
from adserver.simulation.traffic import end_ms
from loadtests import auction, prices
from loadtests.program import Key, Program, caps_of, fill, requests_of, slide
from loadtests.supply import Slot, slots

_GUARANTEED: Final = ("sponsorship", "standard")
_GOAL: Final = 0.98
_TOGETHER: Final = 60_000


def cap_of(item: LineItem) -> FrequencyCap | None:
    """The one that leaves least in a long time, of those that count a line item's impressions a person."""
    caps = [
        c for c in item.frequency_caps if (c.scope, c.event, c.session) == ("line_item", "impression", False)
    ]
    return min(caps, key=lambda cap: (cap.limit / cap.per_ms, cap.limit), default=None)


# -- guaranteed ------------------------------------------------------------------------------------


class _Nodes(dict[Any, int]):
    def __missing__(self, key: Any) -> int:
        self[key] = len(self)
        return self[key]


Supplies = dict[int, list[int]]
"""Line item -> how many more impressions towards its goal may be delivered from each day of the run on."""


def wanted_of(found: Found, item: LineItem) -> int | None:
    """The impressions that its goal takes: those it had, and what is missing as it is expected to take, or
    what is too much less. So neither luck with clicks nor the want of it is anybody's merit or fault: in the
    mean it is the goal by its rate (a stopped sum of expectations has the mean of what came: Doob). None: it
    has no goal of an amount."""
    goal, config = item.goal, found.config
    if goal is None or goal.kind not in ("impressions", "viewable", "clicks", "spend"):
        return None
    readers, totals = config.readers, _totals(found, item)
    clicks = readers.line_items.get(item.full_id, readers.clicks)
    worth = auction.worth_nanos(item, config) if goal.kind == "spend" else 0.0
    each = {"impressions": 1.0, "viewable": readers.viewable, "clicks": clicks, "spend": worth}[goal.kind]
    count = totals.billed_nanos if goal.kind == "spend" else getattr(totals, goal.kind)
    return max(totals.impressions + ceil((goal.amount - count) / each), 0) if each else None


def done(found: Found, item: LineItem) -> int:
    """Impressions towards its goal."""
    return min(_totals(found, item).impressions, wanted_of(found, item) or 0)


def _totals(found: Found, item: LineItem) -> LineItemTotals:
    return found.days.get((item.serial, -1), LineItemTotals(item.serial))


def at_once(config: Config, wanted: Mapping[int, int]) -> Supplies:
    """All of it from the first day on. ``wanted``: by line item, in impressions."""
    later = [0] * (len(_days(config)) - 1)
    return {serial: [amount, *later] for serial, amount in wanted.items()}


def as_planned(config: Config, items: list[LineItem], wanted: Mapping[int, int]) -> Supplies:
    """What is paced no sooner than its plan: who keeps a pace cannot use the traffic of today for tomorrow,
    nor know that tomorrow brings less."""
    found = at_once(config, wanted)
    for item in items:
        flight, amount = item.flight, wanted[item.serial]
        if item.pacing != "asap" and flight.start_ms is not None and flight.end_ms:
            curve = curves.of(item, config.timezone, flight.start_ms, flight.end_ms)
            ends = [plan_to_date(amount, flight.start_ms, flight.end_ms, end, curve) for end in _days(config)]
            found[item.serial] = [after - before for before, after in pairwise([0, *ends])]
    return found


def _days(config: Config) -> list[int]:
    """When each day of the run ends."""
    ends = [localtime.day_span(config.timezone, config.start_ms)[2]]
    while ends[-1] < end_ms(config):
        ends.append(localtime.day_span(config.timezone, ends[-1])[2])
    return ends


Page = tuple[str, tuple[int, ...], int, tuple[tuple[tuple[int, ...], int], ...]]
"""Of requests that are alike: who, the window of each cap, the day, and for each placement the line items
that may have it and its impressions."""


def feasible(config: Config, wanted: Supplies, items: list[LineItem], told: list[Slot]) -> dict[int, int]:
    """Serial -> impressions in a maximum flow towards all goals at once."""
    caps = {item.serial: cap_of(item) for item in items}
    windows = sorted({cap.per_ms for cap in caps.values() if cap is not None})
    places: defaultdict[tuple[Any, ...], list[tuple[tuple[int, ...], int]]] = defaultdict(list)
    ends = _days(config)
    for slot in told:
        mine = tuple(serial for serial in slot.eligible if serial in wanted)
        if mine:
            at = tuple((slot.at_ms - config.start_ms) // per_ms for per_ms in windows)
            places[slot.page, slot.who, at, bisect_right(ends, slot.at_ms)].append((mine, slot.count))
    pages = Counter((*key[1:], tuple(sorted(found))) for key, found in places.items())
    return _flow(pages, wanted, caps, {per_ms: place for place, per_ms in enumerate(windows)})


def _flow(
    pages: Counter[Page], wanted: Supplies, caps: dict[int, FrequencyCap | None], places: dict[int, int]
) -> dict[int, int]:
    nodes = _Nodes()
    edges: dict[tuple[int, int], int] = {}
    source, sink = nodes["source"], nodes["sink"]
    for serial, amounts in wanted.items():
        for day, amount in enumerate(amounts):
            edges[source, nodes["item", serial, day]] = amount
            if day:
                # What was not delivered yesterday still may be.
                edges[nodes["item", serial, day - 1], nodes["item", serial, day]] = sum(amounts)
    for page, times in pages.items():
        who, at, day, found = page
        for number, (mine, count) in enumerate(found):
            place = nodes["place", page, number]
            edges[place, sink] = count * times
            for serial in mine:
                once = nodes["page", page, serial]
                edges[once, place] = times
                cap, before = caps[serial], nodes["item", serial, day]
                if cap is not None:
                    window = nodes["window", serial, who, at[places[cap.per_ms]]]
                    edges[before, window] = cap.limit
                    before = window
                # One of its ads in a request.
                edges[before, once] = times
    ends = np.array(list(edges), dtype=np.int32)
    size = (len(nodes), len(nodes))
    graph = csr_array(
        coo_array((np.array(list(edges.values()), dtype=np.int32), (ends[:, 0], ends[:, 1])), size)
    )
    flow = csr_array(maximum_flow(graph, source, sink).flow)
    return {
        serial: sum(int(flow[source, nodes["item", serial, day]]) for day in range(len(amounts)))
        for serial, amounts in wanted.items()
    }


def sliding(config: Config, wanted: Mapping[int, int], items: list[LineItem], told: list[Slot]) -> float:
    """Impressions towards all goals at once where caps hold in every window of their length, not only in
    those that stand still, as the flow has them. Ads may be divided."""
    program, mine = Program(), defaultdict[int, list[Key]](list)
    left = auction.left_to(set(wanted), told, Counter())
    for request, times in requests_of(config, ((None, item) for item in items), left).items():
        fill(program, mine, request, times, set(wanted))
    for item in items:
        keys = mine[item.serial]
        program.at_most([(key, 1.0) for key in keys], wanted[item.serial])
        for cap in caps_of(item):
            slide(program, keys, cap)
    best = program.most({key: 1.0 for keys in mine.values() for key in keys})
    assert best is not None, "nothing for anybody is a solution"
    return sum(best.values())


# -- the report ------------------------------------------------------------------------------------


def report(config: Config, out: Path, given_back: bool) -> list[str]:
    """Lines of Markdown; the run's tables go to ``out``. ``given_back``: simulate the second run too."""
    found, told = _run(config, out)
    judged = [*_guaranteed(found, told), *_auction(found, told), "", *_share(found)]
    return [*judged, *(_unrendered(found) if given_back else [])]


def guaranteed(config: Config, out: Path) -> list[str]:
    """The same of guaranteed goals alone."""
    return _guaranteed(*_run(config, out))


def _run(config: Config, out: Path) -> tuple[Found, list[Slot]]:
    found = simulate(config, _say)
    tables.write(found, out)
    (out / "summary.md").write_text(summary.to_markdown(found), encoding="utf-8")
    told = list(slots(config))
    _say(f"{sum(slot.count for slot in told):,} impressions were to be had; now the referees")
    return found, told


def _guaranteed(found: Found, told: list[Slot]) -> list[str]:
    config = found.config
    sold = [item for _, item in found.items.values() if item.priority in _GUARANTEED]
    wanted = {
        item.serial: amount for item in sold if (amount := wanted_of(found, item)) is not None
    }  # fmt: skip
    goals = [item for item in sold if item.serial in wanted]
    if not goals:
        return []
    # A share of the traffic is promised, too, and which part of it is drawn: it is not there for goals.
    told = auction.left_to(set(wanted), told, found.play.record.shares)
    best = feasible(config, at_once(config, wanted), goals, told)
    paced = feasible(config, as_planned(config, goals, wanted), goals, told)
    lines = [
        "| guaranteed line item | wanted | delivered | maximum flow | of it | one that keeps pace | of it |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    kept = 0
    for item in sorted(goals, key=lambda one: one.full_id):
        mine, most = done(found, item), best[item.serial]
        kept += mine
        lines.append(
            f"| {item.full_id} | {wanted[item.serial]:,} | {mine:,} | {most:,} | {_percent(mine, most)} "
            f"| {paced[item.serial]:,} | {_percent(mine, paced[item.serial])} |"
        )
    sums = [sum(flow.values()) for flow in (best, paced)]
    return [
        *lines,
        "| all | | "
        + " | ".join([f"{kept:,}", *(f"{one:,} | {_percent(kept, one)}" for one in sums)])
        + " |",
        "",
        *verdict(config, wanted, goals, told, kept, sums[0]),
        judged("Guaranteed goals of a maximum flow that keeps the pace", kept / (sums[1] or 1), _GOAL),
        "",
    ]


def verdict(
    config: Config, wanted: Mapping[int, int], goals: list[LineItem], told: list[Slot], kept: int, flow: int
) -> list[str]:
    """Of the flow; where that leaves it in doubt, of what the laws leave of it, which is the one that counts:
    a flow whose windows stand still has what no server may give."""
    plain = f"{kept / (flow or 1):.2%}"
    if kept >= _GOAL * flow or not any(map(caps_of, goals)):
        return [judged("Guaranteed goals of a maximum flow", kept / (flow or 1), _GOAL)]
    most = sliding(config, wanted, goals, told)
    what = f"Guaranteed goals of what caps in windows that slide leave of a maximum flow ({most:,.0f})"
    return [
        f"Of a maximum flow in whose windows, which stand still, caps may be broken: {plain}.",
        judged(what, kept / (most or 1), _GOAL),
    ]


def _auction(found: Found, told: list[Slot]) -> list[str]:
    """Of many places the optimum is bounded person by person: everybody at once would take hours."""
    left = auction.behind_guaranteed(found, told)
    if len(left) > _TOGETHER:
        priced = prices.bound(found, left)
    else:
        best = auction.best_revenue(found, left)
        priced = None if best is None else (best, best.total())
    return (
        ["Auction revenue: the program has no solution."]
        if priced is None
        else [*auction.lines(found, *priced)]
    )


def _share(found: Found) -> list[str]:
    counts: Counter[str] = sum(found.play.record.feeds.values(), Counter())
    return [f"Sponsored share of feeds: {_percent(counts['sponsored'], counts['allowed'])} of the cap.", ""]


def _unrendered(found: Found) -> list[str]:
    """The same traffic, but what is not rendered is given back at once."""
    readers = replace(found.config.readers, released=1 - found.config.readers.rendered)
    other = simulate(replace(found.config, readers=readers), _say)
    ads, most = (sum(hour["ads"] for hour in one.play.record.hours.values()) for one in (found, other))
    return [
        f"Ads answered: {ads:,}; {most:,} if what is not rendered were given back.",
        judged("Fill beside reservations that end unrendered", ads / (most or 1), 0.99),
    ]


def judged(what: str, share: float, least: float) -> str:
    """A verdict."""
    return f"{what}: {share:.2%}, goal >= {least:.0%}: {'kept' if share >= least else 'NOT KEPT'}."


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.optimum")
    parser.add_argument("config", type=Path, help="as `adserver simulate` takes it")
    parser.add_argument("--out", type=Path, default=Path("simulation"), help="where the run's tables go")
    parser.add_argument("--given-back", action="store_true", help="what is reserved and never rendered, too")
    asked = parser.parse_args()
    print("\n".join(report(read_config(asked.config), asked.out, asked.given_back)))


if __name__ == "__main__":
    main()
