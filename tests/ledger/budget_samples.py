"""A small world of budgets: three line items, two campaigns, one advertiser, days of 100 seconds."""

from adserver.domain.records import BudgetTerms, LineItemTerms

DAY_MS = 100_000
RENDER_MS = 20_000
LEVELS = {1: (1, 1, "A"), 2: (1, 1, "A"), 3: (2, 1, "B")}
"""line item -> (campaign, advertiser, time zone)"""
ACCOUNTS = ("line_item:1", "line_item:2", "line_item:3", "campaign:1", "campaign:2", "advertiser:1")


def day_of(zone: str, at_ms: int) -> int:
    """Days here last 100 s; zone B is 30 s ahead."""
    return (at_ms + (30_000 if zone == "B" else 0)) // DAY_MS


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
