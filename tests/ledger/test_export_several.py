"""What several workers journalled, exported as one: every event once, and a bill checked against it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from crew import Crew, Member
from world import campaign, instant, publisher

from adserver.api.statements import shown
from adserver.commands import bill
from adserver.commands.export import export
from adserver.domain.statements import Statement, parse_month
from adserver.duties import Duties
from adserver.options import Wrong
from adserver.services.ask import Asker

pytest.importorskip("pyarrow")


ITEM = {"id": "a", "pricing": {"model": "cpm", "amount": "4.2057"}}
SETTLED = "2026-07-03T12:00:30+00:00"
"""When June's last token is dead everywhere."""


async def close(member: Member) -> Statement:
    """With what goes on beside it."""
    who = Asker(role="operator")
    act = member.app.statements.close(who, "advertiser", "acme", parse_month("2026-06"))
    closing = asyncio.create_task(act)
    while not closing.done():
        await Duties(member.app).turn()
        await asyncio.sleep(0)
    return await closing


def rows_of(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    found: list[dict[str, Any]] = []
    for path in folder.rglob("*.parquet"):
        found += pyarrow.parquet.ParquetDataset(path, partitioning=None).read().to_pylist()
    return sorted(found, key=lambda row: row["place"])


def test_a_bill_of_what_three_workers_sold(tmp_path: Path) -> None:
    documents = {"publishers": [publisher()], "campaigns": [campaign("acme/a", ITEM)]}
    with Crew(tmp_path, 3, **documents) as crew:
        sold = []
        for turn in range(12):
            crew.clock.ms += 1000
            member = crew.members[turn % 3]
            (ad,) = member.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"]
            crew.clock.ms += 1
            assert member.event(ad["impression_url"]).billed
            sold.append(ad["event_id"])
        crew.tick()
        crew.clock.ms = instant(SETTLED)
        _, second, third = crew.members
        # Closed by one, taken back by another that sold it.
        closed = asyncio.run(close(third))
        assert [line.impressions for line in closed.lines] == [12]
        crew.clock.ms += 1000
        asyncio.run(second.app.invalidation.reverse([sold[1]], "a farm"))
        crew.tick()
        file = tmp_path / "june.json"
        file.write_bytes(msgspec.json.encode(shown(closed, "advertiser", "acme")))
        assert crew.verified() == []
    data, out = tmp_path / "data", tmp_path / "out"
    assert export(data, out, 0, 1 << 62) == 13
    rows = rows_of(out)
    assert [row["event_id"] for row in rows] == [*sold, sold[1]]
    assert len({row["place"] for row in rows}) == 13
    assert all((row["advertiser"], row["line_item"], row["currency"]) == ("acme", "a", "EUR") for row in rows)
    [closing] = json.loads((out / "closings.json").read_bytes())["closings"]
    assert (closing["owner"], closing["stands"]) == ("acme", True)
    assert rows[-2]["place"] < closing["place"] < rows[-1]["place"]
    assert bill.check(file, out) == 0
    # As if one of them had been a machine of its own.
    other = tmp_path / "other"
    (other / "journals").mkdir(parents=True)
    (data / "journals" / "1").rename(other / "journals" / "1")
    apart = [tmp_path / "apart-0", tmp_path / "apart-1"]
    assert [export(one, into, 0, 1 << 62) for one, into in zip((data, other), apart, strict=True)] == [8, 5]
    both = [(row["event_id"], row["status"]) for into in apart for row in rows_of(into)]
    assert sorted(both) == sorted((row["event_id"], row["status"]) for row in rows)
    beside = tmp_path / "beside"
    assert export(data, beside, 0, 1 << 62, others=[other]) == 13
    assert rows_of(beside) == rows
    assert bill.check(file, beside) == 0
    with pytest.raises(Wrong, match="are the same journal"):
        export(data, tmp_path / "twice", 0, 1 << 62, others=[other, other])
    # One event less, and the bill is found out.
    told = json.loads(file.read_bytes())
    told["lines"][0]["impressions"] -= 1
    file.write_text(json.dumps(told))
    assert bill.check(file, out) > 0
