"""A small world of budgets: three line items, two campaigns, one advertiser, days of 100 seconds."""

from collections.abc import Iterable

from adserver.domain.records import BudgetTerms, LineItemTerms

DAY_MS = 100_000
RENDER_MS = 20_000
LEVELS = {1: (1, 1, "A"), 2: (1, 1, "A"), 3: (2, 1, "B")}
"""line item -> (campaign, advertiser, time zone)"""
ACCOUNTS = ("line_item:1", "line_item:2", "line_item:3", "campaign:1", "campaign:2", "advertiser:1")


def day_of(zone: str, at_ms: int) -> int:
    """Days here last 100 s; zone B is 30 s ahead."""
    return (at_ms + (30_000 if zone == "B" else 0)) // DAY_MS


def span_of(zone: str, at_ms: int) -> tuple[int, int, int]:
    """(day, start, end), as budgets ask for it."""
    day, ahead_ms = day_of(zone, at_ms), 30_000 if zone == "B" else 0
    return day, day * DAY_MS - ahead_ms, (day + 1) * DAY_MS - ahead_ms


class Catalogue:
    """What is in force: the line items that are served, under these limits."""

    revision = 1

    def __init__(self, serials: Iterable[int], budgets: dict[tuple[str, str], int]) -> None:
        self._items = {serial: terms(serial, budgets) for serial in serials}

    def line_item(self, serial: int) -> LineItemTerms | None:
        return self._items.get(serial)

    def levels(self, gone: LineItemTerms) -> dict[str, tuple[BudgetTerms, ...]]:
        shared = f"campaign:{gone.campaign}", f"advertiser:{gone.advertiser}"
        return {
            name: tuple(budget for budget in item.budgets if budget.account == name)
            for item in self._items.values()
            for name in shared
            if name in accounts_of(item.serial)
        }

    def absent(self, serials: set[int]) -> set[int]:
        return serials - self._items.keys()


def accounts_of(serial: int) -> tuple[str, str, str]:
    campaign, advertiser, _ = LEVELS[serial]
    return f"line_item:{serial}", f"campaign:{campaign}", f"advertiser:{advertiser}"


def terms(serial: int, budgets: dict[tuple[str, str], int]) -> LineItemTerms:
    campaign, advertiser, zone = LEVELS[serial]
    own = tuple(
        BudgetTerms(account, period, nanos, zone)
        for (account, period), nanos in budgets.items()
        if account in accounts_of(serial)
    )
    return LineItemTerms(
        0, 1, serial, f"a/b/{serial}", campaign, advertiser, "EUR", zone, "cpm", 10, (), own
    )  # fmt: skip
