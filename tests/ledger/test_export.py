"""``adserver export``: what the journal holds, as other engines read it."""

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from ledger_samples import DAY, NOW_MS, PRICE, placement, recorded, request, reversed_, terms
from servers.disks import mounted
from test_cli import run, wrong
from verified_samples import keep, sound

from adserver.commands import export as command
from adserver.domain.bills import CLOSINGS
from adserver.domain.counted import events_of
from adserver.domain.decision import EventKind
from adserver.domain.records import Reversed, Status
from adserver.ledger.export import EventRow
from adserver.ledger.files import segment_path
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

HOUR_MS = 3_600_000


def read(folder: Path) -> list[dict[str, Any]]:
    """All rows, by event id, kind and status."""
    rows = []
    for path in sorted(folder.rglob("*")):
        assert path.is_dir() or path.suffix == ".parquet" or path.name == CLOSINGS
        if path.suffix == ".parquet":
            rows += pyarrow.parquet.ParquetFile(path).read().to_pylist()
    return sorted(rows, key=lambda row: (row["event_id"], row["kind"], row["status"]))


def test_every_event_is_there_and_the_money_adds_up(tmp_path: Path) -> None:
    """Conversions too, where they are owed to an ad, under the day of its decision."""
    records = [one for r in sound() for one in ([r] if isinstance(r, Reversed) else events_of(r))]
    data = keep(tmp_path / "data", sound())
    done = run("export", tmp_path / "out", "--data", data)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{len(records)} events\n", "")
    rows = read(tmp_path / "out")
    signs = [-r.billed_nanos if isinstance(r, Reversed) else r.billed_nanos for r in records]
    assert (len(rows), sum(row["billed_nanos"] for row in rows)) == (len(records), sum(signs))
    assert {row["status"] for row in rows} == {"accepted", "expired", "filtered", "reversed"}
    assert {row["unbilled"] for row in rows} >= {"", "over_budget", "test", "filtered", "repeated"}
    assert sum(row["kind"] == "conversion" for row in rows) == 6
    assert sum(row["kind"] == "fee" for row in rows) == 4
    assert all(row["decided_ms"].date() == row["day"] for row in rows), "days are those of UTC here"
    assert verify(data, lambda line: None) == []


def test_a_row_names_everything(tmp_path: Path) -> None:
    event = recorded(request(1))
    keep(tmp_path / "data", [terms(1), placement(7), event, reversed_(event)])
    assert command.export(tmp_path / "data", tmp_path / "out", 0, 1 << 62) == 2
    there, back = read(tmp_path / "out")
    decided_at = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    assert there == {
        "event_id": there["event_id"], "kind": "impression", "status": "accepted",
        "at_ms": datetime.fromtimestamp(NOW_MS / 1000 + 1, UTC), "decided_ms": decided_at,
        "day": date.fromordinal(date(1970, 1, 1).toordinal() + DAY),
        "advertiser": "acme", "campaign": "summer", "line_item": "item-1", "creative": 101,
        "publisher": "lumen", "placement": "place-7", "currency": "EUR", "billed_nanos": PRICE,
        "free_nanos": 0, "unbilled": "", "reason": "", "test": False, "country": "FR",
        "device": "mobile", "place": there["place"],
    }  # fmt: skip
    assert back.pop("place") > there["place"] > 1 << 40
    changed = {name: back[name] for name in back if back[name] != there[name]}
    assert changed == {
        "status": "reversed",
        "at_ms": datetime.fromtimestamp(NOW_MS / 1000 + 3601, UTC),
        "billed_nanos": -PRICE,
        "reason": "a farm",
    }


def test_a_folder_a_day_and_hour_also_when_the_clock_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ROWS_PER_GROUP", 2)
    hours = [0, 0, 0, 1, 2, 3, 0, 27]
    events = [
        recorded(request(number), after_ms=hour * HOUR_MS, status=Status.FILTERED)
        for number, hour in enumerate(hours, 1)
    ]
    keep(tmp_path / "data", [terms(1), placement(7), *events])
    assert command.export(tmp_path / "data", tmp_path / "out", 0, 1 << 62) == len(hours)
    files = [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.parquet")]
    assert sorted(files) == [
        "day=2027-01-15/hour=08/events-001.parquet",
        "day=2027-01-15/hour=08/events-002.parquet",
        "day=2027-01-15/hour=09/events-001.parquet",
        "day=2027-01-15/hour=10/events-001.parquet",
        "day=2027-01-15/hour=11/events-001.parquet",
        "day=2027-01-16/hour=11/events-001.parquet",
    ]
    assert len(read(tmp_path / "out")) == len(hours)


def test_a_part_of_the_time(tmp_path: Path) -> None:
    """From inclusive, to exclusive, by when events were recorded."""
    events = [
        recorded(request(number), after_ms=number * HOUR_MS, kind=EventKind.HIDE) for number in range(1, 4)
    ]
    keep(tmp_path / "data", [terms(1), placement(7), *events])
    done = run(
        "export", tmp_path / "out", "--data", tmp_path / "data",
        "--from", "2027-01-15T09:00", "--to", "2027-01-15T11:00:00+00:00",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "2 events\n")


def test_a_damaged_journal_leaves_no_half_file(tmp_path: Path) -> None:
    data = keep(tmp_path / "data", sound())
    path = segment_path(data / "journal", 1)
    raw = bytearray(path.read_bytes())
    raw[2000] ^= 1
    path.write_bytes(raw)
    done = run("export", tmp_path / "out", "--data", data)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not everything was exported: the journal is damaged: segment 1" in done.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_one_of_two_into_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is as if it had been alone, whenever they meet."""
    data = keep(tmp_path / "data", sound())
    alone = command.export(data, tmp_path / "alone", 0, 1 << 62)
    events = command.events

    def meanwhile(*arguments: Any) -> Iterator[EventRow]:
        for row in events(*arguments):
            with pytest.raises(command.Wrong, match="another export writes into it"):
                command.export(data, tmp_path / "out", 0, 1 << 62)
            yield row

    monkeypatch.setattr(command, "events", meanwhile)
    assert command.export(data, tmp_path / "out", 0, 1 << 62) == alone
    assert read(tmp_path / "out") == read(tmp_path / "alone")
    with pytest.raises(command.Wrong, match="is not an empty folder"):
        command.export(data, tmp_path / "out", 0, 1 << 62)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    data = keep(tmp_path / "data", sound())
    for kilobytes in (4, 40):
        folder = tmp_path / f"{kilobytes}"
        with mounted(folder, f"{kilobytes}k"):
            done = run("export", folder / "out", "--data", data)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert "No space left on device" in done.stderr
            assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".parquet"}


@pytest.mark.slow
def test_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = keep(tmp_path / "data", [terms(1)])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    assert "not an empty folder" in wrong("export", tmp_path / "full", "--data", data)
    assert "not a data folder" in wrong("export", tmp_path / "out", "--data", tmp_path / "none")
    assert "--from yesterday is not a day" in wrong(
        "export", tmp_path / "out", "--data", data, "--from", "yesterday"
    )
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(command.Wrong, match="install adserver"):
        command.export(data, tmp_path / "out", 0, 1)
