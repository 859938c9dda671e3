"""A catalogue that changes under its users' feet: documents as chance has them, for tests that edit between a
decision and its events. Pricing models, caps, budgets and creatives change, line items go and come back."""

from random import Random
from typing import Any

from world import campaign

CAMPAIGNS = ("acme/one", "acme/two", "bolt/three")
SHORTEST_MS = 600_000
"""Of the windows of all caps."""
_ITEMS = ("a", "b", "c")
_CREATIVES = ("p", "q", "r", "s", "t", "u")
"""Of a campaign; a creative may come back under another line item."""
_SCOPES = ("line_item", "line_item", "campaign", "advertiser", "creative")
_PERS = ("10m", "1h", "1d", "session")
_AMOUNTS = ("0.05", "0.50", "2.00", "9.00", "40.00")
_ZONES = ("UTC", "Asia/Tokyo", "America/New_York")


def sold(name: str, chance: Random) -> Any:
    """A campaign of some of its line items, each priced, capped and shown as chance has it."""
    shown = chance.sample(_CREATIVES, len(_CREATIVES))
    items = [
        _item(id_, [shown.pop() for _ in range(chance.choice((1, 1, 2)))], chance)
        for id_ in chance.sample(_ITEMS, chance.randint(1, len(_ITEMS)))
    ]
    return campaign(
        name,
        *items,
        status=chance.choice(("active", "active", "active", "paused")),
        repeat_in_request=chance.random() < 0.3,
        timezone=_ZONES[CAMPAIGNS.index(name)],
        **_budget(chance, 0.5),
    )


def advertiser(name: str, chance: Random) -> Any:
    return {"advertiser": name, "currency": "EUR", **_budget(chance, 0.6)}


def publisher(chance: Random, render_within: str = "2m") -> Any:
    """The feed's policy and the floor change, who is served does not. ``render_within``: at the side."""
    feed = {"max_share": chance.choice(("0.06", "0.3", "0.5")), "advertiser_gap": chance.choice((0, 2, 4)),
            "account_idle": "30m"}  # fmt: skip
    top = {"id": "top", "auction": "second_price", "floor": chance.choice(("0.10", "3.00"))}
    side = {"id": "side", "render_within": render_within}
    return {
        "publisher": "gazette",
        "placements": [top, side, {"id": "news", "surface": "feed", "feed": feed}],
    }


def _item(name: str, shown: list[str], chance: Random) -> Any:
    return {
        "id": name,
        "pricing": _pricing(chance),
        "frequency_caps": [_cap(chance) for _ in range(chance.choice((0, 1, 1, 2, 3)))],
        "creatives": [_creative(id_, chance) for id_ in shown],
        "serve_without_user": chance.random() < 0.3,
        **_budget(chance, 0.5),
    }


def _pricing(chance: Random) -> Any:
    model = chance.choice(("cpm", "cpm", "vcpm", "cpc"))
    return {
        "model": model,
        "amount": chance.choice(("0.40", "1.00") if model == "cpc" else ("90.00", "700.00")),
    }


def _cap(chance: Random) -> Any:
    return {
        "limit": chance.randint(1, 4),
        "per": chance.choice(_PERS),
        "scope": chance.choice(_SCOPES),
        "event": chance.choice(("impression", "impression", "viewable", "click")),
    }


def _creative(name: str, chance: Random) -> Any:
    """Every title is another version of it."""
    return {
        "id": name,
        "format": chance.choice(("image", "image", "native")),
        "assets": {"image_url": f"https://cdn.example/{chance.randint(1, 3)}.png", "title": "One"},
    }


def _budget(chance: Random, likely: float) -> dict[str, Any]:
    if chance.random() >= likely:
        return {}
    lifetime, daily = ({p: chance.choice(_AMOUNTS)} for p in ("lifetime", "daily"))
    return {"budget": chance.choice((lifetime, daily, lifetime | daily))}
