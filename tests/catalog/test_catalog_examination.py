"""A change is examined, and followed, without looking at the whole catalogue; looking at all of it finds
the same."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from places import fresh_file, fresh_schema

from adserver.catalog.drafts import Key, read
from adserver.catalog.objects import Objects
from adserver.catalog.opening import reading
from adserver.catalog.store import Store
from adserver.catalog.whole import Held, examine
from adserver.databases import Place
from adserver.domain.changes import Conflict, Invalid, Kind

OWNERS = ("oak", "elm")
CURRENCIES = ("EUR", "USD")
AUDIENCES = ("oak/fans", "elm/fans", "daily/fans")
PLACEMENTS = ("daily/top", "daily/end")


def pseudonymise(space: str, user: str) -> bytes:
    return blake2b(f"{space}\0{user}".encode(), digest_size=16).digest()


def advertiser(name: str, currency: str, budget: bool) -> tuple[Kind, str, dict[str, Any]]:
    return "advertiser", name, {"currency": currency, **({"budget": {"daily": "5.00"}} if budget else {})}


def campaign(
    name: str, currency: str, audiences: list[str], placement: str
) -> tuple[Kind, str, dict[str, Any]]:
    own = [full_id.removeprefix(f"{name.partition('/')[0]}/") for full_id in audiences]
    targeting = {"audiences": {"any": own}, "placements": [placement]} if own else {"placements": [placement]}
    item = {
        "id": "a", "priority": "auction", "pricing": {"model": "cpm", "amount": "1.00"},
        "targeting": targeting, "creatives": [],
    }  # fmt: skip
    return "campaign", name, {"currency": currency, "line_items": [item]}


def audience(full_id: str) -> tuple[Kind, str, dict[str, Any]]:
    owner = full_id.partition("/")[0]
    return "audience", full_id, {"user_space": "u", "publisher" if owner == "daily" else "advertiser": owner}


def publisher(name: str, placements: list[str], shows: str = "image") -> tuple[Kind, str, dict[str, Any]]:
    listed = [
        {"id": placement.partition("/")[2], "surface": "page", "formats": [shows]} for placement in placements
    ]
    return "publisher", name, {"currency": "EUR", "placements": listed}


PUTS = some.one_of(
    some.builds(
        advertiser, some.sampled_from((*OWNERS, "daily")), some.sampled_from(CURRENCIES), some.booleans()
    ),
    some.builds(
        campaign,
        some.sampled_from([f"{owner}/{name}" for owner in OWNERS for name in ("one", "two")]),
        some.sampled_from(CURRENCIES),
        some.lists(some.sampled_from(AUDIENCES), max_size=2, unique=True),
        some.sampled_from(PLACEMENTS),
    ),
    some.builds(audience, some.sampled_from(AUDIENCES)),
    some.builds(
        publisher,
        some.sampled_from(("daily", "oak")),
        some.sampled_from(([*PLACEMENTS], [PLACEMENTS[0]])),
        some.sampled_from(("image", "native")),
    ),
)
GONE: list[Key] = [
    *(("advertiser", name) for name in OWNERS),
    *(("audience", name) for name in AUDIENCES),
    ("publisher", "daily"),
    ("campaign", "oak/one"),
]
STANDING = (
    publisher("daily", [*PLACEMENTS]),
    *(advertiser(name, "EUR", budget=False) for name in OWNERS),
    *map(audience, AUDIENCES),
    campaign("oak/one", "EUR", ["oak/fans"], PLACEMENTS[0]),
    campaign("elm/two", "USD", ["daily/fans"], PLACEMENTS[1]),
)
CHANGES = some.lists(some.one_of(PUTS, some.sampled_from(GONE)), min_size=1, max_size=12)


def examine_changes(place: Place, changes: list[Any]) -> None:
    store = Store(place, pseudonymise)
    for change in STANDING:
        store.put(*change)
    store.load()
    for change in changes:
        before = everything(store)
        wanted = as_it_would_be(before, change)
        try:
            store.put(*change) if len(change) == 3 else store.archive(*change)
        except (Invalid, Conflict):
            assert examine(wanted), f"{change} was refused without need"
            assert everything(store) == before
        else:
            assert examine(everything(store)) == [], f"{change} broke something"
        # Who follows change by change holds what somebody reads who comes new.
        assert store.load().digest == store.content()[1]
    afresh = Store(place, pseudonymise)
    assert afresh.load() == store.load()
    afresh.close()
    store.close()


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_examining_what_a_change_touches_is_examining_everything(tmp_path: Path, changes: list[Any]) -> None:
    examine_changes(fresh_file(tmp_path), changes)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_examining_what_a_change_touches_is_examining_everything_in_postgresql(
    database: str, changes: list[Any]
) -> None:
    examine_changes(fresh_schema(database), changes)


def everything(store: Store) -> dict[Key, Held]:
    with reading(store._engine) as connection:
        objects = Objects(connection)
        kinds: tuple[Kind, ...] = ("advertiser", "campaign", "audience", "publisher", "placement")
        keys: list[Key] = [(kind, name) for kind in kinds for name in objects.names(kind, None)]
        found = {key: objects.get(key) for key in keys}
        return {key: held for key, held in found.items() if held is not None}


def as_it_would_be(held: dict[Key, Held], change: Any) -> dict[Key, Held]:
    """The catalogue with a change that is not asked whether it may."""
    if len(change) == 3:
        kind, full_id, body = change
        drafts = {draft.key: Held(draft) for draft in read(kind, full_id, body)[0]}
        implied = [("advertiser", full_id.partition("/")[0])] if kind == "campaign" else []
        made = {
            key: Held(read("advertiser", key[1], {})[0][0])
            for key in implied
            if key not in held and ("publisher", key[1]) not in held
        }
        return held | made | drafts
    kind, full_id = change
    owned = {
        key: Held(found.draft, archived=True)
        for key, found in held.items()
        if key == change or (kind in ("advertiser", "publisher") and key[1].startswith(f"{full_id}/"))
    }
    return held | owned
