"""Delivery goals and pacing: whether a line item may serve now, and how urgently it wants to."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.books import LineItemTotals
from adserver.domain.campaign import FLAT
from adserver.domain.decision import NoFill
from adserver.engine import curves, pacing, ranking
from adserver.engine.curves import Curve
from adserver.engine.pacing import UNIT, due, plan_to_date, reached_ms
from adserver.engine.rates import CLICKS, CONVERSIONS, PER_MILLION, VIEWABLE
from adserver.engine.rules import Drop
from adserver.engine.snapshot import Entry
from adserver.services.allotment import hurries
from adserver.services.traffic import STEP_MS, Course


class Account(Protocol):
    """One budget in the books."""

    limit_nanos: int | None
    used_nanos: int
    """Billed and held."""
    held_nanos: int

    @property
    def billed_nanos(self) -> int: ...


class Standing(Protocol):
    """A line item's accounts on the day [start_ms, end_ms) of its campaign, and what was delivered."""

    @property
    def totals(self) -> LineItemTotals: ...
    @property
    def outstanding(self) -> int: ...
    @property
    def start_ms(self) -> int: ...
    @property
    def end_ms(self) -> int: ...

    def spent_nanos(self) -> int:
        """Billed and held of the line item itself, in all."""
        ...

    def likely_nanos(self, today: bool, per_million: int) -> int:
        """Billed, firmly held, and ``per_million`` of what is held as an upper expectation."""
        ...

    def emptied(self, amount_nanos: int) -> bool:
        """Whether what the advertiser paid in has no room for a hold of this amount."""
        ...

    def left_nanos(self) -> int | None:
        """The least any account still allows; None without a budget."""
        ...


class Accounts(Protocol):
    """What is delivered, billed and held so far; ``ledger.budgets`` keeps it."""

    def standing(self, line_item: int, at_ms: int) -> Standing | None: ...
    def account(self, name: str, day: int | None = None) -> Account:
        """``<level>:<serial>``, of one day or (None) of the lifetime."""
        ...


class Traffic(Protocol):
    def course(self, start_ms: int, end_ms: int, now_ms: int, curve: Curve | None) -> Course | None:
        """Where a plan over this time should stand by the traffic; None: by the clock."""
        ...


_COUNTED = ("impressions", "viewable", "clicks", "conversions")
_LIKELY = {
    "impressions": PER_MILLION,
    "viewable": VIEWABLE.prior,
    "clicks": CLICKS.prior,
    "conversions": CONVERSIONS.prior,
}
"""Of ads in flight, what will count, per million."""
_DAY_MS = 86_400_000


def drop(
    entry: Entry, accounts: Accounts, traffic: Traffic, allotment: Mapping[int, int], now_ms: int,
    fee: int = 0,
) -> Drop | None:  # fmt: skip
    """The first of goal, budget and pacing that holds the line item back. ``fee``: the nanos it would hold of
    a flat one."""
    item = entry.line_item
    standing = accounts.standing(item.serial, now_ms)
    goal = item.goal
    if goal is not None and goal.kind != "share" and standing is not None:
        done = delivered(entry, standing)
        if done >= goal.amount:
            return Drop(NoFill.BUDGET_EXHAUSTED, "goal", goal.amount, done)
    hold = fee or ranking.hold_nanos(item.pricing.model, item.pricing.amount_micros)
    left = standing.left_nanos() if standing is not None else 0
    if standing is None or (left is not None and left < hold):
        empty = standing is not None and standing.emptied(hold)
        return Drop(NoFill.BUDGET_EXHAUSTED, "wallet" if empty else "budget", hold, left)
    ahead = _ahead(entry, standing, traffic, allotment, now_ms)
    return None if ahead is None else Drop(NoFill.PACED, "pacing", ahead[1], ahead[0])


def is_free(
    entry: Entry, accounts: Accounts, traffic: Traffic, allotment: Mapping[int, int], now_ms: int
) -> bool:
    """Whether neither goal nor plan holds it back, where that is told at once: only its budgets can then."""
    item = entry.line_item
    if item.goal is not None and item.goal.kind != "share":
        return False
    if item.pacing == "asap":
        return True
    standing = accounts.standing(item.serial, now_ms)
    return standing is None or _ahead(entry, standing, traffic, allotment, now_ms) is None


def _ahead(
    entry: Entry, standing: Standing, traffic: Traffic, allotment: Mapping[int, int], now_ms: int
) -> tuple[int, int] | None:
    """(done, planned to date) where that holds it back: more is done, unless it hurries, or nothing is wanted
    at this hour."""
    item = entry.line_item
    if item.pacing == "asap":
        return None
    plan = to_date(entry, standing, traffic, now_ms)
    if item.pacing == "hourly" and not curves.wants(item, entry.campaign.timezone, now_ms):
        return plan or (0, 0)
    is_ahead = plan is not None and plan[0] > plan[1] and not hurries(allotment, item.serial)
    return plan if is_ahead else None


def delivered(entry: Entry, standing: Standing) -> int:
    """What counts towards the goal, in its unit. Impressions and spend include what is in flight: a goal
    is not overrun by what was already promised to be shown. Of views and clicks what is likely of it: who
    held all of it as if it were seen would stand still, a few short of the goal."""
    goal = entry.line_item.goal
    if goal is None:
        return 0
    if goal.kind == "spend":
        return standing.spent_nanos()
    count = standing.totals.net(goal.kind)
    return count + standing.outstanding * _LIKELY[goal.kind] // PER_MILLION


def to_date(entry: Entry, standing: Standing, traffic: Traffic, now_ms: int) -> tuple[int, int] | None:
    """(done, planned to date) in one unit: of the day's budget if there is one, else of the goal or the
    lifetime budget, over the days of the flight. Within a day it goes by the traffic, where that is
    known. None where nothing is planned. One unit ahead of the plan is in time: the first of the day may
    serve at once."""
    plan = _plan(entry, standing)
    if plan is None:
        return None
    course = traffic.course(plan.start_ms, plan.end_ms, now_ms, plan.curve)
    if course is None:
        today = plan_to_date(plan.today, plan.start_ms, plan.end_ms, now_ms, plan.curve)
        return plan.done, plan.before + today
    return plan.done, plan.before + due(plan.today, course.left)


def counted(entry: Entry, accounts: Accounts, traffic: Traffic, now_ms: int) -> int:
    """How much of its bid counts in the auction (``bidding``), in thousandths: all of it where nothing is
    planned."""
    standing = accounts.standing(entry.line_item.serial, now_ms)
    plan = _plan(entry, standing) if standing is not None else None
    if standing is None or plan is None:
        return UNIT
    done, planned = to_date(entry, standing, traffic, now_ms) or (0, 0)
    return pacing.counted(plan.today, planned - plan.before, done - plan.before)


def in_time_ms(entry: Entry, accounts: Accounts, traffic: Traffic, now_ms: int) -> int:
    """When to try a line item again that is ahead of its plan: once it should have caught up, or now and
    then."""
    standing = accounts.standing(entry.line_item.serial, now_ms)
    plan = _plan(entry, standing) if standing is not None else None
    if plan is None:
        return now_ms
    latest_ms, done = now_ms + limits.PACED_MS, plan.done - plan.before
    course = traffic.course(plan.start_ms, plan.end_ms, now_ms, plan.curve)
    if course is None:
        if plan.curve is not None:
            return latest_ms
        return min(reached_ms(plan.today, plan.start_ms, plan.end_ms, done), latest_ms)
    left = plan.today - due(plan.today, course.left)
    if left <= 0 or course.rate <= 0:
        return latest_ms
    ahead = done - (plan.today - left)
    return min(now_ms + 1 + ahead * course.rest * STEP_MS // (left * course.rate), latest_ms)


def is_within_day(entry: Entry, accounts: Accounts, now_ms: int) -> bool:
    """Whether less is done than the day is due in all, by enough for what is done until it is asked again."""
    standing = accounts.standing(entry.line_item.serial, now_ms)
    plan = _plan(entry, standing) if standing is not None else None
    return plan is None or plan.done - plan.before < plan.today - plan.today // 20


class _Plan(Struct, frozen=True, gc=False):
    """``done`` so far, of which ``before`` was due before the day [start_ms, end_ms) and ``today`` is within
    it, with what was missed before: all in the plan's unit. ``curve``: None where it is even."""

    done: int
    before: int
    today: int
    start_ms: int
    end_ms: int
    curve: Curve | None


def _plan(entry: Entry, standing: Standing) -> _Plan | None:
    item, flight = entry.line_item, entry.line_item.flight
    start_ms = max(standing.start_ms, flight.start_ms or standing.start_ms)
    end_ms = min(standing.end_ms, flight.end_ms or standing.end_ms)
    daily = item.budget.daily_nanos
    if daily is not None and item.pricing.model != FLAT:
        curve = None if item.pacing == "even" else curves.of(item, entry.campaign.timezone, start_ms, end_ms)
        return _Plan(_likely(entry, standing, today=True), 0, daily, start_ms, end_ms, curve)
    whole = _whole(entry, standing)
    if whole is None or flight.start_ms is None or flight.end_ms is None:
        return None
    done, total = whole
    start, end = flight.start_ms, flight.end_ms
    curve = curves.of(item, entry.campaign.timezone, start, end)
    before, behind = (plan_to_date(total, start, end, at, curve) for at in (start_ms, end_ms))
    before = min(before, _before_today(entry, standing, done))
    return _Plan(done, before, behind - before, start_ms, end_ms, curve)


def _before_today(entry: Entry, standing: Standing, done: int) -> int:
    """What of it was done on the days before: as much as was spent on them, of all that was spent. Books are
    kept by day of money alone; at one price it is exact."""
    whole = _likely(entry, standing, today=False)
    return done - done * _likely(entry, standing, today=True) // whole if whole else done


def _whole(entry: Entry, standing: Standing) -> tuple[int, int] | None:
    """(done, total) of the flight's goal, else of its budget."""
    goal, lifetime = entry.line_item.goal, entry.line_item.budget.lifetime_nanos
    if goal is not None and goal.kind != "share":
        return delivered(entry, standing), goal.amount
    if lifetime is None or entry.line_item.pricing.model == FLAT:
        return None  # what a day costs is no matter of how often it is shown
    return (_likely(entry, standing, today=False), lifetime)


def _likely(entry: Entry, standing: Standing, today: bool) -> int:
    """What a line item will have spent. A budget holds many times what a click is likely to cost, so that it
    is never overrun; who paced by that would stand still with a fraction of it spent."""
    return standing.likely_nanos(today, ranking.LIKELY_PER_MILLION[entry.line_item.pricing.model])


def need(entry: Entry, accounts: Accounts, now_ms: int) -> float:
    """Impressions per day still wanted, by the clock: what weighs the draw of guaranteed line items that the
    allocation plan has no weight for. Without a goal or budget: 1, all alike."""
    daily = daily_need(entry, accounts, now_ms, max(ends_ms(entry, now_ms) - now_ms, 60_000) / _DAY_MS)
    return 1.0 if daily is None else daily


def ends_ms(entry: Entry, now_ms: int) -> int:
    """When what it still wants should be done."""
    return entry.line_item.flight.end_ms or now_ms + 30 * _DAY_MS


def daily_need(entry: Entry, accounts: Accounts, now_ms: int, days: float) -> float | None:
    """Impressions a day still wanted, where its flight has so many ``days`` to go; None without a goal or
    budget. Of views, clicks and conversions, so many impressions as they are likely to take."""
    item = entry.line_item
    goal, lifetime, daily = item.goal, item.budget.lifetime_nanos, item.budget.daily_nanos
    if goal is None and lifetime is None and daily is None:
        return None
    standing = accounts.standing(item.serial, now_ms)
    if standing is None:
        return 0.0
    wants = list[float]()
    if goal is not None and goal.kind in _COUNTED:
        wanted = (goal.amount - delivered(entry, standing)) / _brought(standing, goal.kind)
        wants.append(wanted / days)
    if goal is not None and goal.kind == "spend":
        lifetime = goal.amount if lifetime is None else min(lifetime, goal.amount)
    price = ranking.likely_nanos(item.pricing.model, item.pricing.amount_micros)
    if price and lifetime is not None:
        wants.append((lifetime - standing.spent_nanos()) / price / days)
    if price and daily is not None:
        wants.append(daily / price)
    return max(min(wants), 0.0) if wants else None


def _brought(standing: Standing, kind: str) -> float:
    """What an impression brings towards such a goal: as the line item's own did, the prior weighing as much
    as one event. By the prior alone who is clicked more often than that would be drawn as much too often."""
    prior, totals = PER_MILLION / _LIKELY[kind], standing.totals
    return (totals.net(kind) + 1) / (totals.net("impressions") + prior)
