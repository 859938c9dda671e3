"""A catalogue of the benchmark's shape as documents, put through the store as anybody's would be.

``python -m loadtests.filling DATA --line-items 100000`` fills a data folder, or replaces every line item in
it with another ``--version``; a server may be running on it. It says what it took.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from adserver.bench.catalogue import Shape, publisher
from adserver.catalog import secrets
from adserver.catalog.drafts import read
from adserver.catalog.folder import Folder
from adserver.catalog.opening import FILE
from adserver.catalog.store import Store
from adserver.clock import WallClock
from adserver.domain.campaign import Campaign, Creative, FrequencyCap, LineItem
from adserver.domain.changes import Kind
from adserver.domain.inventory import Publisher
from adserver.domain.targeting import Targeting
from adserver.services.pseudonyms import Pseudonyms

Document = dict[str, Any]

BATCH: Final = 100
"""Campaigns (of ten line items) in one transaction: what a campaign tool sends at once."""
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NICENESS: Final = 10


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.filling", description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--line-items", type=int, default=100_000)
    parser.add_argument("--version", type=int, default=0)
    asked = parser.parse_args()
    os.nice(_NICENESS)
    store = open_store(asked.data)
    campaigns = catalogue(asked.line_items)
    began = time.perf_counter()
    batches = sum(1 for _ in fill(store, campaigns, asked.version))
    store.close()
    print(f"{asked.line_items} line items in {batches} changes: {time.perf_counter() - began:.1f} s")


def fill_folder(data: Path, line_items: int) -> None:
    store = open_store(data)
    for _ in fill(store, catalogue(line_items)):
        pass
    store.close()


def catalogue(line_items: int) -> tuple[Campaign, ...]:
    """The same every time, but for when it begins."""
    return Shape().catalogue(line_items, WallClock()()).campaigns


def open_store(data: Path) -> Store:
    """The catalog of a data folder, made if absent."""
    data.mkdir(parents=True, exist_ok=True)
    return Store(data / FILE, Pseudonyms(secrets.load(data).pseudonym).person)


def fill(
    store: Store, campaigns: tuple[Campaign, ...], version: int = 0, batch: int = BATCH
) -> Iterator[tuple[int, tuple[Campaign, ...]]]:
    """Put the benchmark's publisher and ``campaigns``, batch after batch; gives each with its revision. What
    is shown tells the version."""
    apply(store, [("publisher", publisher_document(publisher()))])
    for first in range(0, len(campaigns), batch):
        some = campaigns[first : first + batch]
        apply(store, [("campaign", campaign_document(campaign, version)) for campaign in some])
        yield store.revision(), some


def apply(store: Store, documents: list[tuple[Kind, Document]]) -> None:
    """Put documents in one transaction. Raises Invalid."""
    drafts, problems = [], []
    for kind, document in documents:
        names = ("advertiser", "campaign") if kind == "campaign" else (kind,)
        read_drafts, found = read(kind, "/".join(document[name] for name in names), document)
        drafts += read_drafts
        problems += found
    store.apply(Folder(tuple(drafts), {}, tuple(problems), ()))


# -- domain values as people write them --------------------------------------------------------------


def publisher_document(made: Publisher) -> Document:
    return {
        "publisher": made.id,
        "currency": made.currency,
        "consent_default": made.consent_default,
        "placements": [
            {
                "id": placement.id,
                "surface": placement.surface,
                "formats": list(placement.formats),
                **({"sizes": list(placement.sizes)} if placement.sizes else {}),
            }
            for placement in made.placements
        ],
    }


def campaign_document(campaign: Campaign, version: int) -> Document:
    return {
        "advertiser": campaign.advertiser,
        "campaign": campaign.id,
        "currency": campaign.currency,
        "timezone": campaign.timezone,
        "budget": {"lifetime": "100000000.00"},
        "line_items": [line_item_document(item, version) for item in campaign.line_items],
    }


def line_item_document(item: LineItem, version: int) -> Document:
    return {
        "id": item.id,
        "priority": item.priority,
        "pricing": {"model": item.pricing.model, "amount": _amount(item.pricing.amount_micros)},
        "budget": {"lifetime": "10000000.00", "daily": "1000000.00"},
        "pacing": item.pacing,
        "frequency_caps": [_cap(cap) for cap in item.frequency_caps],
        "targeting": _targeting(item.targeting),
        "creatives": [_creative(creative, version) for creative in item.creatives],
    }


def _amount(micros: int) -> str:
    return f"{micros // 1_000_000}.{micros % 1_000_000 // 10_000:02}"


def _cap(cap: FrequencyCap) -> Document:
    return {"limit": cap.limit, "per": f"{cap.per_ms // 3600_000}h"}


def _creative(creative: Creative, version: int) -> Document:
    markup = {"html": "<p>an ad</p>"} if creative.format == "html" else {}
    return {
        "id": creative.id,
        "format": creative.format,
        "size": creative.size,
        "advertiser_domain": creative.advertiser_domain,
        "landing_url": creative.landing_url,
        "assets": creative.assets | markup | {"title": f"version {version}"},
    }


def _targeting(targeting: Targeting) -> Document:
    document: Document = {
        name: {part: list(getattr(clause, part)) for part in ("any", "none") if getattr(clause, part)}
        for name, clause in targeting.clauses.items()
    }
    if targeting.hours is not None:
        document["dayparts"] = list(_dayparts(targeting.hours))
    return document | ({"custom": targeting.custom} if targeting.custom else {})


def _dayparts(hours: frozenset[int]) -> Iterator[Document]:
    for number, day in enumerate(_DAYS):
        mine = sorted(hour - number * 24 for hour in hours if hour // 24 == number)
        if mine:
            yield {"days": [day], "hours": mine}


if __name__ == "__main__":
    main()
