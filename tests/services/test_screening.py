"""Invalid traffic as it comes: each rule and its reason as cases (``screening/cases.json``), what a marked
event moves and does not, and decisions for readers in data centres."""

import asyncio
import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from world import BROWSER, OPERATOR, World, campaign, duration, publisher

from adserver.domain import limits
from adserver.domain.books import Position
from adserver.domain.decision import EventKind
from adserver.domain.invalid import Invalid
from adserver.domain.records import Recorded, Status, Unbilled
from adserver.ledger.reader import Reader
from adserver.ledger.verify import verify
from adserver.services.ask import Asker
from adserver.services.calls import Call
from adserver.services.marked import Marked
from adserver.settings import Settings

CASES = json.loads((Path(__file__).parent / "screening" / "cases.json").read_text())
CENTRES = "198.51.100.0/24  # a cloud's\n2001:db8:77::/48\n"
SPEAKING = {"role": "publisher", "owner": "gazette"}


def opened(folder: Path, kind: str = "web", **of: Any) -> World:
    """With the limits as they are by default, but for those given."""
    centres = folder / "centres.txt"
    centres.write_text(CENTRES)

    class Screened(World):
        settings = Settings(public_url="https://ads.example", data_centres=centres, **of)

    item = {"id": "a", "frequency_caps": [{"limit": 200, "per": "1d"}], "serve_without_user": True}
    return Screened(folder / "world", publishers=[publisher(kind=kind)], campaigns=[campaign("acme/a", item)])


def one_ad(world: World, user: str | None = "u-1", mode: str = "live") -> dict[str, Any]:
    request: dict[str, Any] = {"placements": [{"id": "top"}], "mode": mode}
    if user is not None:
        request["user"] = {"id": user}
    found: dict[str, Any] = world.decide(request)["decisions"][0]["ads"][0]
    return found


def told(world: World, ad: dict[str, Any], kind: str, call: dict[str, Any]) -> str:
    """The verdict, or the reason of a filtered one: as it moved the metric."""
    metrics = world.app.metrics._filtered
    before = dict(metrics)
    verdict = world.event(ad[f"{kind}_url"], Call(**{"user_agent": BROWSER, **call}))
    moved = [reason for (reason,), number in metrics.items() if number != before[reason,]]
    assert (verdict.status is Status.FILTERED) is bool(moved) and len(moved) <= 1
    assert not (moved and verdict.billed)
    assert (verdict.location == "https://acme.example/") is (kind == "click"), "whatever the verdict"
    return str(moved[0]) if moved else verdict.status.name.lower()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(tmp_path: Path, case: dict[str, Any]) -> None:
    settings = {name: value if isinstance(value, int) else tuple(value)
                for name, value in case.get("settings", {}).items()}  # fmt: skip
    with opened(tmp_path, case.get("kind", "web"), **settings) as world:
        users = case.get("users", ["u-1"] * 5)
        ads = [one_ad(world, user, case.get("mode", "live")) for user in users]
        for number, (after, *step) in enumerate(case["steps"]):
            world.clock.ms += duration(after)
            if step[0] in ("tick", "restart"):
                getattr(world, step[0])()
                continue
            ad, kind, call, wanted = step
            assert told(world, ads[ad], kind, call) == wanted, f"step {number}"
        world.tick()
        assert verify(world.folder / "data", report=lambda line: None) == []


def test_every_reason_has_a_case() -> None:
    found = {step[-1] for case in CASES for step in case["steps"]}
    assert found >= set(Invalid)


# -- what it moves ---------------------------------------------------------------------------------


def journalled(world: World) -> list[Recorded]:
    with closing(Reader(world.folder / "data" / "journal")) as reader:
        return [record for _, record, _ in reader.read(Position()) if isinstance(record, Recorded)]


def standing(world: World) -> Any:
    """Everything that money, caps, goals and learning are made of, but for what is only counted."""
    states = world.app.states
    (entry,) = world.app.world.snapshot.entries
    account = states.budgets.account(f"line_item:{entry.line_item.serial}")
    totals = world.delivery("acme/a")["line_items"][0]
    world.app.post()
    _, shown = world.app.ledger.shown()
    money = account and (account.held_nanos, account.billed_nanos)
    counted = {name: value for name, value in totals.items() if name != "filtered"}
    return states.exposures.dump(), states.budgets.dump(), money, counted, shown


@pytest.mark.slow
@pytest.mark.parametrize("call", [{"ip": "198.51.100.9"}, {"user_agent": ""}, {"ip": "203.0.113.7"}])
@pytest.mark.parametrize("kind", ["impression", "viewable", "click"])
def test_a_marked_event_is_written_down_once_and_moves_nothing(
    tmp_path: Path, call: dict[str, Any], kind: str
) -> None:
    with opened(tmp_path, rate_per_address=(1, 1), fastest_click_ms=0) as world:
        first, ad = one_ad(world), one_ad(world)
        for url in ("impression", "viewable", "click"):
            assert told(world, first, url, {"ip": "203.0.113.7"}) == "accepted"
        if kind == "click":
            assert told(world, ad, "impression", {"ip": "203.0.113.99"}) == "accepted"
        before, written = standing(world), len(journalled(world))
        reasons = {told(world, ad, kind, call) for _ in range(3)}
        assert len(reasons) == 1 and standing(world) == before
        (found,) = journalled(world)[written:]
        assert (found.status, found.unbilled, found.billed_nanos) == (Status.FILTERED, Unbilled.FILTERED, 0)
        assert {found.reason} == reasons and found.kind == EventKind[kind.upper()]
        assert world.delivery("acme/a")["line_items"][0]["filtered"] == 1
        world.restart()
        assert told(world, ad, kind, {"ip": "203.0.113.98"}) == "accepted", "the id was not used up"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nobody_under_every_limit_is_filtered(tmp_path: Path, seed: int) -> None:
    """People as they come and go, over restarts, at the limits and never above them in any minute."""
    chance, limit = random.Random(seed), 4
    settings: dict[str, Any] = {"rate_per_user": (limit, limit), "rate_per_address": (2 * limit, 2 * limit)}
    with opened(tmp_path, **settings) as world:
        latest: dict[str, list[int]] = {"u-1": [], "u-2": [], "u-3": []}
        for _ in range(60):
            world.clock.ms += chance.choice((0, 0, 500, 5_000, 20_000, 61_000))
            user = chance.choice(list(latest))
            times = [at for at in latest[user] if at > world.clock.ms - 60_000]
            if len(times) >= limit:
                continue
            latest[user] = [*times, world.clock.ms]
            ad = one_ad(world, user)
            address = {"ip": f"203.0.113.{user[-1]}"}
            assert told(world, ad, "impression", address) == "accepted"
            if chance.random() < 0.5:
                world.clock.ms += 100
                assert told(world, ad, "click", address) == "accepted"
            if chance.random() < 0.1:
                world.restart(clean=chance.random() < 0.5)


def test_a_look_ahead_moves_no_tempo(tmp_path: Path) -> None:
    with opened(tmp_path, rate_per_user=(0, 1), fastest_click_ms=0) as world:
        ad = one_ad(world)
        told(world, ad, "impression", {})
        token = ad["click_url"].rpartition("/")[2]
        for _ in range(3):
            seen, _ = world.app.recorder.peek(token, EventKind.CLICK, Call(user_agent=BROWSER, method="HEAD"))
            assert seen.status is Status.UNRECORDED
        assert told(world, ad, "click", {}) == "accepted"
        peeked, _ = world.app.recorder.peek(token, EventKind.CLICK, Call(method="HEAD"))
        assert peeked.status is Status.FILTERED


def test_a_diagnosis_tells_the_reasons(tmp_path: Path) -> None:
    """Of events, each once; tests are none, and what is two days old is over."""
    with opened(tmp_path) as world:
        ads, tested = [one_ad(world) for _ in range(3)], one_ad(world, mode="test")

        def of_both(hours: int) -> list[dict[str, int]]:
            diagnosis = world.app.diagnosis
            campaign_ = asyncio.run(diagnosis.campaign(OPERATOR, ("acme", "a"), hours))
            placement = asyncio.run(diagnosis.placement(OPERATOR, ("gazette", "top"), hours))
            return [campaign_["line_items"][0]["filtered"], placement["filtered"]]

        assert of_both(24) == [{}, {}]
        for ad in [*ads, *ads, tested]:
            told(world, ad, "click", {})
        told(world, ads[0], "impression", {"prefetch": True})
        assert of_both(1) == [{"no_impression": 3, "prefetch": 1}] * 2
        world.clock.ms += 2 * 3600_000
        assert of_both(1) == [{}, {}]
        assert of_both(2) == [{"no_impression": 3, "prefetch": 1}] * 2
        world.clock.ms += 60 * 3600_000
        told(world, one_ad(world), "click", {})
        assert of_both(48) == [{"no_impression": 1}] * 2
        assert len(world.app.marked._hours) == 1


def test_an_hour_keeps_so_many_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MARKED_PER_HOUR", 4)
    marked = Marked(lambda: 0)
    for number in range(4):
        marked.add(number, number + 100, Invalid.CRAWLER)
    marked.add(0, 100, Invalid.CRAWLER)
    assert marked.of("line_item", 0, 1) == {"crawler": 2} and marked.of("line_item", 1, 1) == {"crawler": 1}
    assert marked.of("line_item", 2, 1) == {}


def test_of_a_storm_at_the_limit_the_limit_is_accepted(tmp_path: Path) -> None:
    with opened(tmp_path, rate_per_user=(7, 0)) as world:
        tokens = [one_ad(world)["impression_url"].rpartition("/")[2] for _ in range(20)]

        async def storm() -> list[Any]:
            tell, call = world.app.recorder.record, Call(user_agent=BROWSER)
            return await asyncio.gather(*(tell(token, EventKind.IMPRESSION, call) for token in tokens))

        statuses = [verdict.status for verdict in asyncio.run(storm())]
        assert statuses == [Status.ACCEPTED] * 7 + [Status.FILTERED] * 13


# -- decisions -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "asker", "bot"),
    [
        ("web", {"ip": "198.51.100.1"}, True),
        ("web", {"ip": "2001:db8:77::5"}, True),
        ("web", {"ip": "198.51.99.255"}, False),
        ("web", {"ip": ""}, False),
        ("web", {"ip": "198.51.100.1", "role": "advertiser", "owner": "acme"}, True),
        ("web", {"ip": "198.51.100.1", **SPEAKING}, False),
        ("web", {"ip": "198.51.100.1", "role": "operator"}, False),
        ("web", {"ip": "198.51.100.1", "ip_told": True, **SPEAKING}, True),
        ("server", {"ip": "198.51.100.1"}, False),
        ("app", {"ip": "198.51.100.1"}, False),
        ("app", {"ip": "198.51.100.1", "ip_told": True}, True),
        ("server", {"ip": "203.0.113.7", "ip_told": True}, False),
    ],
)
def test_readers_in_data_centres_are_bots(
    tmp_path: Path, kind: str, asker: dict[str, Any], bot: bool
) -> None:
    """Where the address is known to be a reader's: they get what a crawler gets, and reserve nothing."""
    with opened(tmp_path, kind) as world:
        written = world.app.journal.position
        request = {"placements": [{"id": "top"}], "user": {"id": "u-1"}}
        (slot,) = world.decide(request, asker=Asker(**asker))["decisions"]
        assert (slot["no_fill"] == "invalid_traffic") is bot and len(slot["ads"]) == (0 if bot else 1)
        assert (world.app.journal.position == written) is bot
