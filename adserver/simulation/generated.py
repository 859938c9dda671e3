"""A catalogue made to measure for the traffic of a simulation: documents as advertisers write them.

Guaranteed line items get goals that a fair division of ``load`` of the forecast supply could fulfil: every
kind of impression (placement and kind of people) is divided evenly among those that may have it. The auction
gets daily budgets that would buy ``demand`` times what is left. Half of them pace evenly.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from math import exp
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

from adserver.domain import money
from adserver.engine import draw, localtime
from adserver.simulation.config import Config, Generated, View
from adserver.simulation.traffic import hours

PUBLISHER: Final = "gazette"
FEED: Final = "feed"
PLACEMENTS: Final = (FEED, "top", "side")
_SHARE: Final = (6, 100)
_PAGES: Final = 200
_SALT: Final = 99
_EPOCH: Final = date(1970, 1, 1)
_HANDFUL: Final = 20
_MODELS: Final = ("cpm", "cpm", "cpm", "vcpm", "cpc")

Document = dict[str, Any]
Cell = tuple[str, int]
"""(placement, number of the kind of people)."""


def write(config: Config, asked: Generated, folder: Path) -> None:
    """The documents, as a folder of campaign files. Raises OSError."""
    for path, document in _documents(config, asked):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def supply(config: Config) -> dict[Cell, float]:
    """Impressions to be had of each kind in the whole run, by the forecast."""
    weights = sum(view.weight for view in config.views)
    pages = sum(view.weight * view.pages for view in config.views) / weights
    visits = sum(hour.forecast for hour in hours(config)) / pages * config.readers.rendered
    kinds = sum(kind.weight for kind in config.people.kinds)
    found: dict[Cell, float] = {}
    for view in config.views:
        for name in view.placements:
            ads = _feed_ads(view) if name == FEED else view.pages
            for number, kind in enumerate(config.people.kinds):
                share = view.weight / weights * kind.weight / kinds
                found[name, number] = found.get((name, number), 0.0) + visits * share * ads
    return found


def _feed_ads(view: View) -> float:
    """Of a visit, in the mean over how many pages it has: the cap counts whole ads."""
    num, den = _SHARE
    most = [view.organic * count * num // (den - num) for count in range(_PAGES)]
    go_on = 1 - 1 / view.pages
    return sum((after - before) * go_on**count for count, (before, after) in enumerate(pairwise(most)))


def _documents(config: Config, asked: Generated) -> Iterator[tuple[str, Document]]:
    yield f"publishers/{PUBLISHER}.json", _publisher(config)
    chance, cells = Random(draw.mix(config.seed, _SALT)), supply(config)
    targets = [_target(config, chance) for _ in range(asked.guaranteed)]
    for number, goal in enumerate(_goals(targets, cells, asked.load)):
        targeting = targets[number][0]
        item = _item("standard", targeting, "cpm", _price(chance), asked, chance)
        item |= {"goal": {"impressions": max(goal, 1)}, "pacing": "even", "flight": _flight(config)}
        yield _campaign(config, f"sure-{number}", item)
    left = sum(cells.values()) * max(1 - asked.load, 0) * asked.demand / config.days
    wanted = [chance.expovariate(1) for _ in range(asked.auction)]
    for number, share in enumerate(wanted):
        targeting = _target(config, chance)[0]
        item = _bidder(config, asked, left * share / sum(wanted), targeting, number, chance)
        yield _campaign(config, f"bid-{number}", item)


def _bidder(
    config: Config, asked: Generated, daily: float, targeting: Document, number: int, chance: Random
) -> Document:
    """``daily``: impressions it would buy each day."""
    model, price = _MODELS[number % len(_MODELS)], _price(chance)
    readers = config.readers
    rate = {"cpm": 1.0, "vcpm": readers.viewable, "cpc": readers.clicks}[model] or 1.0
    amount = round(price / rate / (1000 if model == "cpc" else 1))
    # A budget that affords a handful of what it pays for: less is no plan.
    budget = max(daily * price / 1000, _HANDFUL * amount / (1 if model == "cpc" else 1000))
    item = _item("auction", targeting, model, amount, asked, chance)
    return item | {
        "budget": {"daily": money.format_micros(round(budget))},
        "pacing": "even" if number % 2 == 0 else "asap",
    }


def _goals(targets: list[tuple[Document, set[Cell]]], cells: dict[Cell, float], load: float) -> list[int]:
    goals = [0.0] * len(targets)
    for cell, amount in cells.items():
        takers = [number for number, (_, mine) in enumerate(targets) if cell in mine]
        for number in takers:
            goals[number] += amount * load / len(takers)
    return [int(goal) for goal in goals]


def _target(config: Config, chance: Random) -> tuple[Document, set[Cell]]:
    """What it targets, and the kinds of impressions that are so."""
    kinds = config.people.kinds
    places = chance.sample(PLACEMENTS, chance.randint(1, len(PLACEMENTS)))
    countries = sorted({kind.facts["country"] for kind in kinds if "country" in kind.facts})
    wanted = chance.sample(countries, chance.randint(1, len(countries))) if countries else []
    targeting: Document = {"placements": [f"{PUBLISHER}/{name}" for name in places]}
    if wanted and len(wanted) < len(countries):
        targeting["countries"] = wanted
    mine = {
        (place, number)
        for place in places
        for number, kind in enumerate(kinds)
        if "countries" not in targeting or kind.facts.get("country") in wanted
    }
    return targeting, mine


def _price(chance: Random) -> int:
    """Micros a thousand, in whole cents, mostly between 1 and 5."""
    return max(round(200 * exp(chance.gauss(0, 0.5))), 10) * 10_000


def _item(
    priority: str, targeting: Document, model: str, amount: int, asked: Generated, chance: Random
) -> Document:
    capped = asked.cap and chance.random() < 0.5
    return {
        "id": "line",
        "priority": priority,
        "pricing": {"model": model, "amount": money.format_micros(amount)},
        "targeting": targeting,
        "frequency_caps": [{"limit": asked.cap, "per": "1d"}] if capped else [],
        "creatives": [
            {"id": form, "format": form, "assets": assets, "landing_url": "https://brand.example/"}
            for form, assets in _ASSETS.items()
        ],
    }


_ASSETS: Final = {
    "image": {"image_url": "https://cdn.example/ad.png"},
    "native": {"title": "A title", "body": "A text", "image_url": "https://cdn.example/ad.png"},
}


def _flight(config: Config) -> Document:
    """The whole run: its first day to the end of its last."""
    return {"start": _local(config, 0), "end": _local(config, config.days - 1)}


def _local(config: Config, days: int) -> str:
    """The date of the run's day number ``days``, from 0."""
    first = localtime.day(config.timezone, config.start_ms)
    return (_EPOCH + timedelta(days=first + days)).isoformat()


def _campaign(config: Config, advertiser: str, item: Document) -> tuple[str, Document]:
    return f"{advertiser}/flight.json", {
        "advertiser": advertiser,
        "campaign": "flight",
        "currency": "EUR",
        "timezone": config.timezone,
        "line_items": [item],
    }


def _publisher(config: Config) -> Document:
    return {
        "publisher": PUBLISHER,
        "currency": "EUR",
        "timezone": config.timezone,
        "consent_default": "granted",
        "placements": [
            {"id": FEED, "surface": "feed", "formats": ["native"], "feed": {"max_share": "0.06"}},
            {"id": "top", "surface": "page", "formats": ["image"]},
            {"id": "side", "surface": "page", "formats": ["image"]},
        ],
    }
