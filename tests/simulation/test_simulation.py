"""Two small days, run once: the same tables for the same configuration, the laws, the audit, and books that
agree with each other although they were kept by different hands."""

import csv
import re
from collections import Counter
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from adserver.domain.campaign import FrequencyCap
from adserver.simulation import generated, plots, summary, tables
from adserver.simulation.config import read_config
from adserver.simulation.run import Found, simulate

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
HOUR_MS = 3600_000


@pytest.fixture(scope="module")
def found() -> Found:
    return simulate(read_config(HERE / "small.yaml"), lambda line: None)


@pytest.fixture(scope="module")
def written(found: Found, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    tables.write(found, folder)
    return folder


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_nothing_offends(found: Found) -> None:
    assert found.offences == []
    assert "no differences" in found.audit
    assert found.play.decisions > 300
    assert found.play.feeds.items > 1000 and found.play.caps.exposures > 100 and found.play.spend.events > 100


def test_the_same_again_is_the_same_bytes(written: Path, tmp_path: Path) -> None:
    """Secrets, pseudonyms and signatures differ from run to run; nothing that is told may depend on them."""
    again = simulate(read_config(HERE / "small.yaml"), lambda line: None)
    for name in tables.write(again, tmp_path):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes(), name


def test_another_seed_is_another_run(found: Found) -> None:
    """Only then does the test above say anything."""
    config = read_config(HERE / "small.yaml")
    other = simulate(replace(config, seed=8, days=1), lambda line: None)
    assert summary.to_markdown(other) != summary.to_markdown(found)
    assert other.offences == []


def test_nobody_is_answered_during_an_outage(found: Found) -> None:
    [(start, end)] = found.config.outages
    inside = [counts for at_ms, counts in found.play.record.hours.items() if start <= at_ms < end]
    told = sum(inside, Counter())
    assert told["lost"] > 5 and set(told) == {"lost"}
    assert sum(counts["lost"] for counts in found.play.record.hours.values()) == told["lost"]


def test_what_is_shown_too_late_is_counted_and_not_billed(found: Found) -> None:
    expired = sum(totals.expired for (_, day), totals in found.days.items() if day == -1)
    late = re.search(r"exposures, (\d+) impressions after their expiry", " ".join(found.audit))
    assert late is not None and 3 < int(late[1]) <= expired


def test_what_happened_is_what_the_ledger_counts(found: Found, written: Path) -> None:
    """The clicks, impressions and money told by verdicts against those posted from the journal."""
    counts = sum(found.play.record.hours.values(), Counter())
    whole = [totals for (_, day), totals in found.days.items() if day == -1]
    assert counts["impression"] == sum(totals.impressions for totals in whole) > 100
    assert counts["viewable"] == sum(totals.viewable for totals in whole)
    assert counts["click"] == sum(totals.clicks for totals in whole) > 0
    billed = sum(
        nanos
        for ((level, _), day), nanos in found.play.spend.billed.items()
        if (level, day) == ("line_item", -1)
    )
    # Answers tell whole micros: each billed event may have lost less than one.
    posted = sum(totals.billed_nanos for totals in whole)
    assert 0 <= posted - billed < 1000 * found.play.spend.events
    assert sum(float(row["billed"]) for row in rows(written, "line_items.csv")) == pytest.approx(
        posted / 1e9, abs=1e-3
    )


def test_days_say_how_plans_ended(found: Found, written: Path) -> None:
    told = rows(written, "days.csv")
    assert len(told) == 2 * len(found.items)
    assert {row["day"] for row in told} == {"2026-06-01", "2026-06-02"}
    assert {row["unit"] for row in told} == {"impressions", "EUR"}
    for row in told:
        assert float(row["done"]) <= float(row["planned"]) + 1e-3 * float(row["planned"]) + 1, row
        assert float(row["ratio"]) == pytest.approx(float(row["done"]) / float(row["planned"]), abs=1e-3)
    goals = {item.full_id: item.goal.amount for _, item in found.items.values() if item.goal}
    last = {
        row["line_item"]: row for row in told if row["day"] == "2026-06-02" and row["unit"] == "impressions"
    }
    assert len(last) == 3
    for name, row in last.items():
        assert abs(int(row["planned"]) - goals[name]) <= 1


def test_hours_are_those_of_the_run(found: Found, written: Path) -> None:
    told = rows(written, "traffic.csv")
    assert len(told) == 48
    assert told[0]["from"] == "2026-05-31T22:00:00Z"
    forecast = sum(float(row["forecast"]) for row in told)
    assert forecast == pytest.approx(300 + 300 * 0.9 * 1.05, abs=0.5)
    assert sum(int(row["decisions"]) for row in told) == found.play.decisions
    assert len(rows(written, "hours.csv")) == 48 * len(found.items)


def test_people_stand_at_most_at_their_caps(found: Found, written: Path) -> None:
    told = rows(written, "frequency.csv")
    assert told and all(int(row["exposures"]) <= int(row["limit"]) for row in told)
    assert any(row["exposures"] == row["limit"] and int(row["people"]) for row in told)
    for (_, cap), people in found.play.caps.peaks().items():
        assert isinstance(cap, FrequencyCap) and sum(people.values()) <= 200


def test_feeds_by_prefix(found: Found, written: Path) -> None:
    told = rows(written, "feeds.csv")
    assert told[0]["from"] == "0" and told[-1]["to"] == ""
    assert sum(int(row["items"]) for row in told) == found.play.feeds.items
    assert sum(int(row["sponsored"]) for row in told) == found.play.feeds.sponsored > 0
    assert sum(int(row["sponsored"]) for row in told) <= sum(int(row["allowed"]) for row in told)


def test_the_page_tells_it(found: Found) -> None:
    page = summary.to_markdown(found)
    assert "2 simulated days, seed 7" in page
    assert "Law 2" in page and "0 offences" in page and "Offence" not in page


def test_plots_are_drawn_where_they_can_be(found: Found, tmp_path: Path) -> None:
    told = plots.draw(found, tmp_path)
    if told.startswith("no plots"):
        pytest.skip("matplotlib is not installed")
    assert {path.name for path in tmp_path.iterdir()} == set(plots.PLOTS)


def test_purchases_behind_clicks_are_told_and_billed(tmp_path: Path) -> None:
    """Of a line item sold per conversion: a click in two buys something, and is owed to its ad."""
    config = read_config(HERE / "small.yaml")
    assert config.generated is not None
    generated.write(config, config.generated, tmp_path)
    file = tmp_path / "bid-1" / "flight.json"
    document = orjson.loads(file.read_bytes())
    document["line_items"][0] |= {"pricing": {"model": "cpa", "amount": "2"}, "budget": {"daily": "30"}}
    file.write_bytes(orjson.dumps(document))
    readers = replace(config.readers, clicks=0.2, buys=0.5, considers_ms=600_000)
    config = replace(config, campaigns=tmp_path, generated=None, days=1, readers=readers)
    ran = simulate(config, lambda line: None)
    assert ran.offences == []
    whole = {ran.items[serial][1].full_id: one for (serial, day), one in ran.days.items() if day == -1}
    sold = whole["bid-1/flight/line"]
    assert 0 < sold.conversions < sold.clicks
    assert sold.billed_nanos == 2_000_000_000 * sold.conversions
    counts = sum(ran.play.record.hours.values(), Counter())
    assert counts["conversion"] == sum(one.conversions for one in whole.values())
    assert 0.3 < counts["conversion"] / counts["click"] < 0.6
