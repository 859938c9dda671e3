"""Reports against everything that happened, added up by hand; and who is told what."""

import asyncio
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec import Struct, structs
from world import World, campaign, publisher

from adserver.domain import limits
from adserver.domain.records import Status
from adserver.domain.reports import DIMENSIONS, METRICS, Scope, hidden_from
from adserver.services.refusals import Refused
from adserver.services.reportask import ReportAsk
from adserver.services.reporting import Report, Reporting

pytestmark = pytest.mark.slow

HOUR_MS = 3600_000
KINDS = {"impression_url": "impressions", "viewable_url": "viewable", "click_url": "clicks"}
PRICES = {
    "acme/spring/a": 4_205_700,
    "acme/spring/b": 2_000_000,
    "brise/sea/c": 1_000_000,
}
BY = [name for name in DIMENSIONS if name not in ("hour", "day")]


class Who(Struct, frozen=True):
    role: str = "operator"
    owner: str | None = None
    read_prices: bool = True


OPERATOR, ACME, GAZETTE = Who(), Who("advertiser", "acme"), Who("publisher", "gazette")


class Happened(Struct, frozen=True):
    """One event, or a placement asked (``what``: requests)."""

    at_ms: int
    what: str
    facts: dict[str, str | None]
    person: str = ""
    nanos: int = 0
    invalid: bool = False
    answered: int = 0
    asked: int = 0


def documents() -> dict[str, Any]:
    shops = [
        publisher("gazette", placements=[{"id": "top"}, {"id": "side"}], revenue_share="0.70"),
        publisher("herald", placements=[{"id": "top"}], currency="USD"),
    ]
    euros = {"placements": ["gazette/top", "gazette/side"]}
    sold = [
        campaign(
            "acme/spring",
            {"id": "a", "pricing": {"model": "cpm", "amount": "4.2057"}, "targeting": euros,
             "creatives": [{"id": "one"}, {"id": "two"}]},
            {"id": "b", "pricing": {"model": "cpm", "amount": "2.00"},
             "targeting": {"placements": ["gazette/side"]}},
        ),
        campaign("brise/sea", {"id": "c", "targeting": {"placements": ["herald/top"]}}, currency="USD"),
    ]  # fmt: skip
    return {"publishers": shops, "campaigns": sold}


def live(world: World, chance: random.Random, turns: int) -> list[Happened]:
    """So many requests of some people, spread over days, with events of all kinds; some taken back later."""
    happened, invalid = list[Happened](), set[int]()
    for _ in range(turns):
        world.clock.ms += chance.choice((1000, 400_000, 3 * HOUR_MS))
        shop = chance.choice(("gazette", "gazette", "herald"))
        place = chance.choice(("top", "side")) if shop == "gazette" else "top"
        person, country, device = (
            chance.choice("abcd"),
            chance.choice(("FR", "DE", "")),
            chance.choice(("tv", "")),
        )
        request: dict[str, Any] = {
            "publisher": shop, "placements": [{"id": place, "count": 2}], "user": {"id": person},
            "consent": {"personalised": True}, "geo": {"country": country}, "device": {"type": device},
        }  # fmt: skip
        (told,) = world.decide(request)["decisions"]
        place_facts: dict[str, str | None] = {
            "publisher": shop, "placement": f"{shop}/{place}", "country": country or None,
            "device": device or None,
        }  # fmt: skip
        at_ms = world.clock.ms
        happened.append(
            Happened(
                at_ms,
                "requests",
                place_facts,
                answered=len(told["ads"]),
                asked=len(told["ads"]) + told["unfilled"],
            )
        )
        for ad in told["ads"]:
            facts = sold_facts(ad) | place_facts
            for url, what in KINDS.items():
                if chance.random() < 0.6:
                    world.clock.ms += chance.choice((0, 20_000))
                    verdict = world.event(ad[url])
                    price = (
                        PRICES[ad["advertiser"] + "/" + ad["campaign"] + "/" + ad["line_item"]]
                        if verdict.billed
                        else 0
                    )
                    told_as = "filtered" if verdict.status == Status.FILTERED else what
                    happened.append(Happened(at_ms, told_as, facts, person, price))
                    if chance.random() < 0.2:
                        world.tick()
                        taken = take_back(world, ad["event_id"])
                        invalid.update(
                            n for n, one in enumerate(happened) if one.facts is facts and one.what in taken
                        )
    world.tick()
    return [structs.replace(one, invalid=n in invalid) for n, one in enumerate(happened)]


def take_back(world: World, event_id: str) -> list[str]:
    """Every kind of it so far."""
    found = asyncio.run(world.app.invalidation.reverse([event_id], "a farm"))
    plural = {"impression": "impressions", "viewable": "viewable", "click": "clicks"}
    return [plural[kind] for one in found for kind in one.kinds]


def sold_facts(ad: Any) -> dict[str, str | None]:
    campaign_id = f"{ad['advertiser']}/{ad['campaign']}"
    return {
        "advertiser": ad["advertiser"], "campaign": campaign_id,
        "line_item": f"{campaign_id}/{ad['line_item']}", "creative": f"{campaign_id}/{ad['creative']['id']}",
    }  # fmt: skip


def by_hand(
    happened: list[Happened], zone: str, group_by: list[str], requests: bool
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """key and currency -> the metrics that are sums, with reach and frequency."""
    rows: defaultdict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    seen: defaultdict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for one in happened:
        if one.what == "requests" and not requests:
            continue
        local = datetime.fromtimestamp(one.at_ms // 1000, UTC).astimezone(ZoneInfo(zone))
        facts = one.facts | {
            "hour": local.replace(minute=0, second=0).isoformat(), "day": local.date().isoformat(),
        }  # fmt: skip
        key = (*(facts[name] for name in group_by), "USD" if one.facts["publisher"] == "herald" else "EUR")
        row, earned = rows[key], one.nanos * (7 if one.facts["publisher"] == "gazette" else 10) // 10
        row[one.what] += 1
        row["asked"] += one.asked
        row["answered"] += one.answered
        row["billed"] += one.nanos
        if one.invalid:
            row[f"invalid_{one.what}"] += 1
            row["refunded"] += one.nanos
        else:
            row["earned"] += earned
            seen[key][one.person] += one.what == "impressions"
    return {key: metrics_of(row, [n for n in seen[key].values() if n]) for key, row in rows.items()}


def metrics_of(row: Counter[str], times: list[int]) -> dict[str, Any]:
    net = row["impressions"] - row["invalid_impressions"]
    spent = row["billed"] - row["refunded"]
    told: dict[str, Any] = {name: row[name] for name in (*KINDS.values(), "requests", "asked", "answered")}
    told |= {f"invalid_{name}": row[f"invalid_{name}"] for name in KINDS.values()}
    told |= {f"net_{name}": row[name] - row[f"invalid_{name}"] for name in KINDS.values()}
    told |= {
        "conversions": 0, "net_conversions": 0, "invalid_conversions": 0,
        "filtered": row["filtered"], "expired": 0,
        "spend_micros": spent // 1000, "gross_spend_micros": row["billed"] // 1000,
        "refunded_micros": row["refunded"] // 1000, "free_micros": 0, "earned_micros": row["earned"] // 1000,
        "ctr": round(told["net_clicks"] / net, 6) if net else None,
        "viewability": round(told["net_viewable"] / net, 6) if net else None,
        "ecpm_micros": spent // net if net else None,
        "fill": round(row["answered"] / row["asked"], 6) if row["asked"] else None,
        "reach": len(times), "frequency": [sum(min(n, 10) == k for n in times) for k in range(1, 11)],
    }  # fmt: skip
    return told


def report(world: World, who: Who = OPERATOR, least: int = 0, **ask: str) -> Report:
    reporting = Reporting(world.app.ledger.reports, world.app.near.sold, least)
    asked = {"since": "2020-01-01", "to": "2020-01-31"} | ask
    return asyncio.run(reporting.delivery(who, ReportAsk(**asked)))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with World(tmp_path_factory.mktemp("reports"), **documents()) as world:
        yield world, live(world, random.Random(7), 120)


def around(world: World, happened: list[Happened]) -> dict[str, str]:
    first, last = happened[0].at_ms, happened[-1].at_ms
    days = (
        datetime.fromtimestamp(at / 1000, UTC).date()
        for at in (first - 2 * 86_400_000, last + 2 * 86_400_000)
    )
    return dict(zip(("since", "to"), (day.isoformat() for day in days), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(15))
def test_a_report_is_what_happened(lived: tuple[World, list[Happened]], seed: int) -> None:
    world, happened = lived
    chance = random.Random(seed)
    requests = chance.random() < 0.5
    known = [name for name in BY if not requests or name in ("publisher", "placement", "country", "device")]
    group_by = chance.sample(["hour", "day", *known], chance.randint(1, 4))
    zone = chance.choice(("UTC", "Europe/Paris", "Asia/Kathmandu", "Australia/Lord_Howe"))
    metrics = [name for name in METRICS if requests or name not in ("requests", "asked", "answered", "fill")]
    found = report(
        world,
        timezone=zone,
        group_by=",".join(group_by),
        metrics=",".join(metrics),
        **around(world, happened),
    )
    told = {
        (*row.key, row.currency): dict(zip(found.wanted.metrics, row.numbers, strict=True))
        for row in found.rows
    }
    expected = by_hand(happened, zone, group_by, requests)
    assert told.keys() == expected.keys()
    for key, row in told.items():
        assert row == {name: expected[key][name] for name in row}, key


@pytest.mark.parametrize(
    ("who", "mine"), [(ACME, ("advertiser", "acme")), (GAZETTE, ("publisher", "gazette"))]
)
def test_everybody_is_told_their_own(
    lived: tuple[World, list[Happened]], who: Who, mine: tuple[str, str]
) -> None:
    world, happened = lived
    hidden = hidden_from(who.role)
    by = [name for name in ("day", "placement", "line_item", "publisher", "advertiser") if name not in hidden]
    metrics = [name for name in METRICS if name not in hidden]
    asks = {"group_by": ",".join(by), "metrics": ",".join(metrics), **around(world, happened)}
    found = report(world, who, **asks)
    kept = [one for one in happened if one.facts.get(mine[0]) == mine[1]]
    expected = by_hand(kept, "UTC", by, requests=who is GAZETTE)
    told = {
        (*row.key, row.currency): dict(zip(found.wanted.metrics, row.numbers, strict=True))
        for row in found.rows
    }
    assert told.keys() == expected.keys()
    for key, row in told.items():
        if who is GAZETTE and row["net_impressions"]:
            expected[key]["ecpm_micros"] = row["ecpm_micros"]
            assert 0 <= row["ecpm_micros"] - row["earned_micros"] * 1000 // row["net_impressions"] <= 1000
        assert row == {name: expected[key][name] for name in row}
    if who is ACME:
        only = report(world, who, **asks, campaign="acme/spring")
        assert [row.key for row in only.rows] == [row.key for row in found.rows]


def test_few_people_are_told_together(lived: tuple[World, list[Happened]]) -> None:
    world, happened = lived
    asks = {
        "group_by": "country,device,campaign",
        "metrics": "impressions,clicks,spend_micros",
        **around(world, happened),
    }
    everything, found = report(world, **asks), report(world, least=5, **asks)
    assert all(row.rows for row in found.rows), "four people are fewer than five"
    assert sum(row.rows for row in found.rows) == len(everything.rows)
    for place in range(4):
        assert sum(row.numbers[place] for row in found.rows) == sum(
            row.numbers[place] for row in everything.rows
        )
    some = report(world, least=2, **asks)
    assert any(row.rows for row in some.rows) and any(not row.rows for row in some.rows)
    by_day = asks | {"group_by": "day,campaign"}
    assert report(world, least=5, **by_day).rows == report(world, **by_day).rows


def test_a_part_of_a_day_is_as_good_as_an_hour(lived: tuple[World, list[Happened]]) -> None:
    world, happened = lived
    first = datetime.fromtimestamp(happened[0].at_ms / 1000, UTC).date()
    asks = {"group_by": "campaign", "since": first.isoformat(), "to": (first + timedelta(days=9)).isoformat()}
    assert not any(row.rows for row in report(world, least=5, **asks).rows)
    assert not any(row.rows for row in report(world, least=5, timezone="Asia/Kathmandu", **asks).rows)
    for part in ({"to": f"{first + timedelta(days=9)}T23:45"}, {"since": f"{first}T00:15"}):
        assert all(row.rows for row in report(world, least=5, **(asks | part)).rows)
    elsewhere = asks | {"since": f"{first}T00:00Z", "timezone": "Asia/Kathmandu"}
    assert all(row.rows for row in report(world, least=5, **elsewhere).rows)


def test_the_sum_of_a_part_of_a_day_is_a_row_too(lived: tuple[World, list[Happened]]) -> None:
    """Of a quarter of an hour it is one person's, by whatever it is asked."""
    world, happened = lived
    one = next(one for one in happened if one.what == "impressions")
    since = datetime.fromtimestamp(one.at_ms // 900_000 * 900, UTC)
    part = {"since": since.isoformat(), "to": (since + timedelta(minutes=15)).isoformat()}
    for asked in ({}, {"group_by": "line_item"}, {"group_by": "country"}, {"metrics": "clicks"}):
        rows = report(world, least=5, **part, **asked).rows
        assert rows and all(row.rows and set(row.numbers) == {None} for row in rows)
        assert all(None not in row.numbers[:1] for row in report(world, **part, **asked).rows)


WRONG = {
    "no days": ({"since": "", "to": "x"}, 400, {"from", "to"}),
    "the wrong way round": ({"since": "2026-02-01", "to": "2026-01-01"}, 400, {"to"}),
    "not on a quarter": ({"since": "2026-01-01T00:01:00Z"}, 400, {"from"}),
    "before there was time": ({"since": "1950-01-01"}, 400, {"from"}),
    "behind the calendar": (
        {"since": "9999-12-30T10:00:00Z", "to": "9999-12-31T12:00:00Z", "timezone": "Pacific/Kiritimati"},
        400, {"from", "to"},
    ),
    "too long": ({"since": "2020-01-01", "to": "2021-12-31"}, 400, {"to"}),
    "too long by hour": ({"since": "2020-01-01", "to": "2020-02-28", "group_by": "hour"}, 400, {"to"}),
    "nowhere": ({"timezone": "Mars/Olympus"}, 400, {"timezone"}),
    "a file": ({"timezone": "../../etc/passwd"}, 400, {"timezone"}),
    "by mood": ({"group_by": "mood", "metrics": "joy"}, 400, {"group_by", "metrics"}),
    "requests of a campaign": ({"group_by": "campaign", "metrics": "fill"}, 400, {"metrics"}),
    "requests of an advertiser": ({"advertiser": "acme", "metrics": "fill"}, 400, {"metrics"}),
    "no id": ({"publisher": "Gazette!"}, 400, {"publisher"}),
    "half a campaign": ({"campaign": "acme"}, 400, {"campaign"}),
    "another's campaign": ({"campaign": "acme/a", "advertiser": "brise"}, 400, {"campaign"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_asked(lived: tuple[World, list[Happened]], name: str) -> None:
    ask, status, paths = WRONG[name]
    with pytest.raises(Refused) as refused:
        report(lived[0], **ask)
    assert refused.value.status == status
    assert {path for path, _ in refused.value.errors} == paths
    if name == "half a campaign":
        assert refused.value.errors == [("campaign", "must be a full id, such as solace/autumn")]


@pytest.mark.parametrize(
    ("who", "ask", "status"),
    [
        (ACME, {"advertiser": "brise"}, 404), (ACME, {"campaign": "brise/sea"}, 404),
        (ACME, {"metrics": "fill"}, 403),
        (ACME, {"metrics": "earned_micros"}, 403), (GAZETTE, {"publisher": "herald"}, 404),
        (GAZETTE, {"advertiser": "acme"}, 404), (GAZETTE, {"campaign": "acme/spring"}, 404),
        (GAZETTE, {"metrics": "spend_micros"}, 403), (GAZETTE, {"group_by": "creative"}, 403),
    ],
)  # fmt: skip
def test_what_may_not_be_asked(
    lived: tuple[World, list[Happened]], who: Who, ask: dict[str, str], status: int
) -> None:
    with pytest.raises(Refused) as refused:
        report(lived[0], who, **ask)
    assert refused.value.status == status


def test_a_count_brings_its_net_and_money_what_was_billed(lived: tuple[World, list[Happened]]) -> None:
    found = report(lived[0], metrics="clicks,spend_micros")
    assert found.wanted.metrics == ("clicks", "net_clicks", "spend_micros", "gross_spend_micros")
    assert report(lived[0], GAZETTE).wanted.metrics == (
        "impressions", "net_impressions", "viewable", "net_viewable", "clicks", "net_clicks", "conversions",
        "net_conversions", "ctr", "ecpm_micros", "earned_micros",
    )  # fmt: skip


@pytest.mark.slow
def test_limits(lived: tuple[World, list[Happened]], monkeypatch: pytest.MonkeyPatch) -> None:
    world, happened = lived
    asks = {"group_by": "hour", **around(world, happened)}
    rows = len(report(world, **asks).rows)
    monkeypatch.setattr(limits, "REPORT_ROWS", rows)
    assert len(report(world, **asks).rows) == rows
    monkeypatch.setattr(limits, "REPORT_ROWS", rows - 1)
    with pytest.raises(Refused, match="too long"):
        report(world, **asks)
    monkeypatch.setattr(limits, "REPORTS_AT_ONCE", 0)
    with pytest.raises(Refused, match="other reports"):
        report(world, **asks)


def test_no_more_rows_are_read_than_may_be_told(
    lived: tuple[World, list[Happened]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a span that has many, as of several."""
    world, asks = lived[0], around(*lived)
    by, quarters = ("line_item", "creative", "placement", "country"), (0, 1 << 28)
    with world.app.ledger.reports.at_once() as moment:
        whole = moment.figures(by, Scope(), quarters, True, False, True)
        monkeypatch.setattr(limits, "REPORT_ROWS", 2)
        some = moment.figures(by, Scope(), quarters, True, False, True)
    assert len(some) < len(whole) and len(some) <= 2 * 3
    with pytest.raises(Refused, match="too long"):
        report(world, group_by=",".join(by), metrics="impressions", **asks)


def test_one_that_takes_too_long_is_ended(
    lived: tuple[World, list[Happened]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPORT_S", -1.0)
    monkeypatch.setattr("adserver.ledger.sqlite._STEPS", 10)
    with pytest.raises(Refused) as refused:
        report(lived[0], **around(*lived))
    assert refused.value.status == 503


def test_reach_of_a_time_whose_people_are_not_known(
    lived: tuple[World, list[Happened]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused: a reach that misses people would look like a true one."""
    world, happened = lived
    since_ms = happened[40].at_ms // 86_400_000 * 86_400_000
    monkeypatch.setattr(world.app.ledger.reports, "people_since_ms", lambda: since_ms)
    asks = around(world, happened)
    with pytest.raises(Refused, match="people are not known"):
        report(world, metrics="reach", **asks)
    report(world, metrics="impressions", group_by="country", **asks)
    day = datetime.fromtimestamp(since_ms / 1000, UTC).date().isoformat()
    assert report(world, metrics="reach", **(asks | {"since": day})).rows
