"""Delivery goals and pacing: whether a line item may serve now, and how urgently it wants to."""

from typing import Protocol

from adserver.domain import limits
from adserver.domain.books import LineItemTotals
from adserver.domain.decision import NoFill
from adserver.engine import ranking
from adserver.engine.pacing import plan_to_date, reached_ms
from adserver.engine.rules import Drop
from adserver.engine.snapshot import Entry


class Account(Protocol):
    """One budget in the books."""

    limit_nanos: int | None
    billed_nanos: int
    held_nanos: int


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

    def spent_today_nanos(self) -> int: ...

    def left_nanos(self) -> int | None:
        """The least any account still allows; None without a budget."""
        ...


class Accounts(Protocol):
    """What is delivered, billed and held so far; ``ledger.budgets`` keeps it."""

    def standing(self, line_item: int, at_ms: int) -> Standing | None: ...
    def account(self, name: str, day: int | None = None) -> Account:
        """``<level>:<serial>``, of one day or (None) of the lifetime."""
        ...


_COUNTED = {"impressions": "impressions", "viewable": "viewable", "clicks": "clicks"}
_DAY_MS = 86_400_000


def drop(entry: Entry, accounts: Accounts, now_ms: int) -> Drop | None:
    """The first of goal, budget and pacing that holds the line item back."""
    item = entry.line_item
    standing = accounts.standing(item.serial, now_ms)
    goal = item.goal
    if goal is not None and goal.kind != "share" and standing is not None:
        done = delivered(entry, standing)
        if done >= goal.amount:
            return Drop(NoFill.BUDGET_EXHAUSTED, "goal", goal.amount, done)
    hold = ranking.hold_nanos(item.pricing.model, item.pricing.amount_micros)
    left = standing.left_nanos() if standing is not None else 0
    if standing is None or (left is not None and left < hold):
        return Drop(NoFill.BUDGET_EXHAUSTED, "budget", hold, left)
    if item.pacing == "even":
        plan = to_date(entry, standing, now_ms)
        if plan is not None and plan[0] > plan[1]:
            return Drop(NoFill.PACED, "pacing", plan[1], plan[0])
    return None


def is_free(entry: Entry, accounts: Accounts, now_ms: int) -> bool:
    """Whether neither goal nor plan holds it back, where that is told at once: only its budgets can then."""
    item = entry.line_item
    if item.goal is not None and item.goal.kind != "share":
        return False
    if item.pacing != "even":
        return True
    standing = accounts.standing(item.serial, now_ms)
    plan = to_date(entry, standing, now_ms) if standing is not None else None
    return plan is None or plan[0] <= plan[1]


def delivered(entry: Entry, standing: Standing) -> int:
    """What counts towards the goal, in its unit. Impressions and spend include what is in flight: a goal
    is not overrun by what was already promised to be shown."""
    goal = entry.line_item.goal
    if goal is None:
        return 0
    if goal.kind == "spend":
        return standing.spent_nanos()
    count = standing.totals.net(_COUNTED.get(goal.kind, "conversions"))
    return count + standing.outstanding if goal.kind == "impressions" else count


def to_date(entry: Entry, standing: Standing, now_ms: int) -> tuple[int, int] | None:
    """(done, planned to date) in one unit: of the day's budget if there is one, else of the goal or the
    lifetime budget over the flight. None where nothing is planned. One unit ahead of the plan is in time:
    the first of the day may serve at once."""
    plan = _plan(entry, standing)
    if plan is None:
        return None
    done, total, start_ms, end_ms = plan
    return done, plan_to_date(total, start_ms, end_ms, now_ms)


def in_time_ms(entry: Entry, accounts: Accounts, now_ms: int) -> int:
    """When to try a line item again that is ahead of its plan: once it has caught up, or now and then."""
    standing = accounts.standing(entry.line_item.serial, now_ms)
    plan = _plan(entry, standing) if standing is not None else None
    if plan is None:
        return now_ms
    done, total, start_ms, end_ms = plan
    return min(reached_ms(total, start_ms, end_ms, done), now_ms + limits.PACED_MS)


def _plan(entry: Entry, standing: Standing) -> tuple[int, int, int, int] | None:
    """(done, total, start ms, end ms)."""
    item = entry.line_item
    daily = item.budget.daily_nanos
    if daily is not None:
        return standing.spent_today_nanos(), daily, standing.start_ms, standing.end_ms
    start_ms, end_ms = item.flight.start_ms, item.flight.end_ms
    if start_ms is None or end_ms is None:
        return None
    if item.goal is not None and item.goal.kind != "share":
        return delivered(entry, standing), item.goal.amount, start_ms, end_ms
    if item.budget.lifetime_nanos is not None:
        return standing.spent_nanos(), item.budget.lifetime_nanos, start_ms, end_ms
    return None


def need(entry: Entry, accounts: Accounts, now_ms: int) -> float:
    """Impressions per day still wanted: what weighs the draw of guaranteed line items (need against
    schedule). Without a goal or budget: 1, all alike."""
    item = entry.line_item
    goal, lifetime, daily = item.goal, item.budget.lifetime_nanos, item.budget.daily_nanos
    if goal is None and lifetime is None and daily is None:
        return 1.0
    standing = accounts.standing(item.serial, now_ms)
    if standing is None:
        return 0.0
    left_ms = max((item.flight.end_ms or now_ms + 30 * _DAY_MS) - now_ms, 60_000)
    if goal is not None and goal.kind in _COUNTED:
        wanted = goal.amount - delivered(entry, standing)
        return max(wanted, 0) * _DAY_MS / left_ms
    price = ranking.hold_nanos(item.pricing.model, item.pricing.amount_micros)
    if goal is not None and goal.kind == "spend":
        lifetime = goal.amount if lifetime is None else min(lifetime, goal.amount)
    if price and lifetime is not None:
        return max(lifetime - standing.spent_nanos(), 0) / price * _DAY_MS / left_ms
    if price and daily is not None:
        return daily / price
    return 1.0
