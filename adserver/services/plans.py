"""Delivery goals and pacing: whether a line item may serve now, and how urgently it wants to."""

from typing import Protocol

from adserver.domain.books import LineItemTotals
from adserver.domain.decision import NoFill
from adserver.engine import localtime, ranking
from adserver.engine.pacing import plan_to_date
from adserver.engine.rules import Drop
from adserver.engine.snapshot import Entry


class Accounts(Protocol):
    """What is delivered, billed and held so far; ``ledger.budgets`` keeps it."""

    def totals(self, line_item: int) -> tuple[LineItemTotals, int] | None:
        """(what was counted, exposures outstanding)."""
        ...

    def spent_nanos(self, line_item: int, day: int | None = None) -> int:
        """Billed and held of the line item itself: in all, or of one day."""
        ...

    def room(self, line_item: int, amount_nanos: int, now_ms: int) -> bool: ...


_COUNTED = {"impressions": "impressions", "viewable": "viewable", "clicks": "clicks"}
_DAY_MS = 86_400_000


def drop(entry: Entry, accounts: Accounts, now_ms: int) -> Drop | None:
    """The first of goal, budget and pacing that holds the line item back."""
    return (
        _goal_reached(entry, accounts)
        or _no_room(entry, accounts, now_ms)
        or (_ahead(entry, accounts, now_ms) if entry.line_item.pacing == "even" else None)
    )


def _goal_reached(entry: Entry, accounts: Accounts) -> Drop | None:
    goal = entry.line_item.goal
    if goal is None or goal.kind == "share":
        return None
    done = delivered(entry, accounts)
    return None if done < goal.amount else Drop(NoFill.BUDGET_EXHAUSTED, "goal", goal.amount, done)


def delivered(entry: Entry, accounts: Accounts) -> int:
    """What counts towards the goal, in its unit. Impressions and spend include what is in flight: a goal
    is not overrun by what was already promised to be shown."""
    goal = entry.line_item.goal
    known = accounts.totals(entry.line_item.serial)
    if goal is None or known is None:
        return 0
    totals, outstanding = known
    if goal.kind == "spend":
        return accounts.spent_nanos(entry.line_item.serial)
    count: int = getattr(totals, _COUNTED.get(goal.kind, "conversions"))
    return count + outstanding if goal.kind == "impressions" else count


def _no_room(entry: Entry, accounts: Accounts, now_ms: int) -> Drop | None:
    pricing = entry.line_item.pricing
    hold = ranking.hold_nanos(pricing.model, pricing.amount_micros)
    if accounts.room(entry.line_item.serial, hold, now_ms):
        return None
    return Drop(NoFill.BUDGET_EXHAUSTED, "budget", hold, "no room")


def _ahead(entry: Entry, accounts: Accounts, now_ms: int) -> Drop | None:
    plan = to_date(entry, accounts, now_ms)
    if plan is None or plan[0] <= plan[1]:
        return None
    return Drop(NoFill.PACED, "pacing", plan[1], plan[0])


def to_date(entry: Entry, accounts: Accounts, now_ms: int) -> tuple[int, int] | None:
    """(done, planned to date) in one unit: of the day's budget if there is one, else of the goal or the
    lifetime budget over the flight. None where nothing is planned. One unit ahead of the plan is in time:
    the first of the day may serve at once."""
    item, serial = entry.line_item, entry.line_item.serial
    if item.budget.daily_nanos is not None:
        day, start_ms, end_ms = localtime.day_span(entry.campaign.timezone, now_ms)
        planned = plan_to_date(item.budget.daily_nanos, start_ms, end_ms, now_ms)
        return accounts.spent_nanos(serial, day), planned
    start_ms_or_none, end_ms_or_none = item.flight.start_ms, item.flight.end_ms
    if start_ms_or_none is None or end_ms_or_none is None:
        return None
    if item.goal is not None and item.goal.kind != "share":
        total, done = item.goal.amount, delivered(entry, accounts)
    elif item.budget.lifetime_nanos is not None:
        total, done = item.budget.lifetime_nanos, accounts.spent_nanos(serial)
    else:
        return None
    return done, plan_to_date(total, start_ms_or_none, end_ms_or_none, now_ms)


def need(entry: Entry, accounts: Accounts, now_ms: int) -> float:
    """Impressions per day still wanted: what weighs the draw of guaranteed line items (need against
    schedule). Without a goal or budget: 1, all alike."""
    item = entry.line_item
    left_ms = max((item.flight.end_ms or now_ms + 30 * _DAY_MS) - now_ms, 60_000)
    if item.goal is not None and item.goal.kind in _COUNTED:
        wanted = item.goal.amount - delivered(entry, accounts)
        return max(wanted, 0) * _DAY_MS / left_ms
    price = ranking.hold_nanos(item.pricing.model, item.pricing.amount_micros)
    budget = item.budget.lifetime_nanos
    if item.goal is not None and item.goal.kind == "spend":
        budget = item.goal.amount if budget is None else min(budget, item.goal.amount)
    if price and budget is not None:
        return max(budget - accounts.spent_nanos(item.serial), 0) / price * _DAY_MS / left_ms
    if price and item.budget.daily_nanos is not None:
        return item.budget.daily_nanos / price
    return 1.0
