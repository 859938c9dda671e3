"""``adserver verify --statement``: a bill checked by itself and against an export, without any server."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ledger_samples import NOW_MS, decided, placement, recorded, request, reversed_, terms
from msgspec import structs
from test_cli import run, wrong
from verified_samples import MONTH, closes, credited, keep

from adserver.api.statements import shown
from adserver.commands import bill
from adserver.commands.export import export
from adserver.domain.records import Record
from adserver.ledger.ledger import Ledger

DAY_MS = 86_400_000
FULL = "acme/summer/item-1"


def sold() -> list[Record]:
    """Two months; the first is closed, where money had moved at a first attempt (it cites the same place of
    the journal), and then something of it is taken back; the second was closed in vain."""
    records: list[Record] = [terms(1), terms(2), placement(7)]
    for number in range(1, 6):
        mine = request(number, NOW_MS + number)
        records += [decided(mine, (number % 2 + 1,), price=1700)]
        records += [recorded(mine, line_item=number % 2 + 1, billed=1700)]
    first = records[4]
    vain = closes(records, "advertiser:20", MONTH, NOW_MS + 31 * DAY_MS - 1)
    records.append(structs.replace(vain, totals=(("EUR", 1),)))
    records.append(closes(records, "advertiser:20", MONTH, NOW_MS + 31 * DAY_MS))
    later = request(9, NOW_MS + 31 * DAY_MS)
    records += [reversed_(first), decided(later, price=400), recorded(later, billed=400)]  # type: ignore[arg-type]
    return [*records, structs.replace(vain, month=MONTH + 1, at_ms=NOW_MS + 70 * DAY_MS)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``june.json`` and ``july.json``, an export in ``out``, and one in ``late`` that begins later."""
    folder = tmp_path_factory.mktemp("bill")
    data = keep(folder / "data", sold())
    ledger = Ledger(data / "ledger.sqlite")
    for name, month in (("may", MONTH - 1), ("june", MONTH), ("july", MONTH + 1)):
        statement = ledger.statement("advertiser:20", month)
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(shown(statement, "advertiser", "acme")))
    ledger.close()
    export(data, folder / "out", 0, 1 << 62)
    export(data, folder / "late", NOW_MS + 16 * DAY_MS, 1 << 62)
    export(data, folder / "early", 0, NOW_MS + 16 * DAY_MS)
    return folder


def test_a_sound_bill(exported: Path) -> None:
    for name, status in (("june", "closed"), ("july", "open")):
        done = run("verify", "--statement", exported / f"{name}.json", "--export", exported / "out")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(f"{status}: 2 lines and the export: no differences\n")
        assert bill.check(exported / f"{name}.json", None) == 0


def test_a_closing_that_is_not_posted_yet(exported: Path, tmp_path: Path) -> None:
    """Nobody knows what it closed: an open bill is to be asked for again, one that cites it is sound."""
    shutil.copytree(exported / "out", tmp_path / "out")
    file = tmp_path / "out" / "closings.json"
    told = json.loads(file.read_bytes())
    assert [one["stands"] for one in told["closings"]] == [False, True, False]
    for one in told["closings"]:
        one["stands"] = None
    file.write_text(json.dumps(told))
    assert bill.check(exported / "july.json", tmp_path / "out") == 1
    del told["closings"][0]
    file.write_text(json.dumps(told))
    assert bill.check(exported / "june.json", tmp_path / "out") == 0


def test_a_bill_that_cites_what_closed_nothing(exported: Path, tmp_path: Path) -> None:
    july = json.loads((exported / "july.json").read_bytes())
    cites = {"status": "closed", "journal": {"segment": 0, "offset": 0, "chain": "00" * 16}}
    (tmp_path / "july.json").write_text(json.dumps(july | cites))
    assert bill.check(tmp_path / "july.json", exported / "out") == 1


@pytest.mark.parametrize("sells", [False, True])
def test_a_month_closed_before_anything_was_sold(tmp_path: Path, sells: bool) -> None:
    """Only credit was given in it: the journal tells later, or never, whose month it was."""
    records: list[Record] = [credited("a"), credited("b", "make_good", 7)]
    records.append(closes(records, "advertiser:20", MONTH, NOW_MS + 31 * DAY_MS))
    data = keep(tmp_path / "data", [*records, *([terms(1)] if sells else [])])
    ledger = Ledger(data / "ledger.sqlite")
    statement = shown(ledger.statement("advertiser:20", MONTH), "advertiser", "acme")
    ledger.close()
    file = tmp_path / "june.json"
    file.write_bytes(msgspec.json.encode(statement))
    export(data, tmp_path / "out", 0, 1 << 62)
    assert bill.check(file, tmp_path / "out") == 0
    told = json.loads(file.read_bytes())
    assert (told["status"], told["totals"][0]["micros"]) == ("closed", -5007)
    for change_of in ({"credits": told["credits"][:1]}, {"journal": told["journal"] | {"offset": 1}}):
        file.write_text(json.dumps(told | change_of))
        assert bill.check(file, tmp_path / "out") > 0


def test_an_export_without_its_ledger(tmp_path: Path) -> None:
    """Nothing says what a closing closed."""
    data = keep(tmp_path / "data", sold())
    for path in data.glob("ledger.sqlite*"):
        path.unlink()
    assert export(data, tmp_path / "out", 0, 1 << 62) == 7
    told = json.loads((tmp_path / "out" / "closings.json").read_bytes())
    assert [one["stands"] for one in told["closings"]] == [None, None, None]


def test_a_month_of_nothing_before_one_that_is_closed(exported: Path) -> None:
    """Nobody closed it, and nothing is billed in it."""
    statement = json.loads((exported / "may.json").read_bytes())
    assert (statement["status"], statement["lines"], statement["journal"]) == ("closed", [], None)
    assert bill.check(exported / "may.json", exported / "out") == 0


def change(path: str, value: Any) -> Callable[[Any], None]:
    *way, last = path.split(".")

    def act(statement: Any) -> None:
        for step in way:
            statement = statement[int(step) if step.isdigit() else step]
        statement[last] = value(statement[last]) if callable(value) else value

    return act


def more(number: int) -> int:
    return number + 1


def twice(statement: Any) -> None:
    """A line stands twice, and the total adds it up."""
    statement["lines"].append(statement["lines"][0])
    statement["totals"][0]["micros"] += statement["lines"][0]["micros"]


def credited_the_wrong_way(statement: Any) -> None:
    statement["credits"] = [{"currency": "EUR", "micros": -7}]
    statement["totals"][0]["micros"] += 7


def in_dollars(statement: Any) -> None:
    for line in statement["lines"]:
        line["currency"] = "USD"
    statement["totals"][0]["currency"] = "USD"


@pytest.mark.parametrize(
    ("act", "said", "alone"),
    [
        (change("totals.0.micros", more), "the totals are", True),
        (change("lines.0.micros", more), "nanos are not", True),
        (change("lines.0.rest_nanos", more), "nanos are not", True),
        (change("lines.0.carried_nanos", 1000), "nanos", True),
        (change("lines.0.impressions", more), "impressions", False),
        (change("lines.0.refunded", 1), "refunded", False),
        (change("lines.0.gross_nanos", lambda nanos: nanos + 100), "gross_nanos", True),
        (change("lines.0.line_item", "other"), "the statement has no line of it", False),
        (change("journal.chain", "ff" * 16), "the statement cites", False),
        (change("status", "open"), "the month was closed", False),
        (change("month", "2027-03"), "no closing of it", False),
        (twice, "stands twice", True),
        (credited_the_wrong_way, "a credit of -7 micros", True),
        (in_dollars, "is in USD, the events are in EUR", False),
    ],
)
def test_a_changed_bill(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    act: Callable[[Any], None], said: str, alone: bool,
) -> None:  # fmt: skip
    """``alone``: it is seen without an export too."""
    statement = json.loads((exported / "june.json").read_bytes())
    act(statement)
    file = tmp_path / "bill.json"
    file.write_text(json.dumps(statement))
    assert bool(bill.check(file, None)) == alone
    assert bill.check(file, exported / "out") > 0
    assert said in capsys.readouterr().out


def test_a_bill_that_shifts_money_between_months(exported: Path, tmp_path: Path) -> None:
    """Everything adds up but for what earlier months left: seen where the export begins with the journal."""
    statement = json.loads((exported / "july.json").read_bytes())
    (line,) = (line for line in statement["lines"] if line["line_item"] == "item-1")
    line["adjusted_nanos"] += 100
    whole = line["carried_nanos"] + line["adjusted_nanos"] + line["gross_nanos"] - line["refunded_nanos"]
    line["micros"], line["rest_nanos"] = divmod(whole, 1000)
    statement["totals"] = [{"currency": "EUR", "micros": sum(one["micros"] for one in statement["lines"])}]
    file = tmp_path / "bill.json"
    file.write_text(json.dumps(statement))
    assert (bill.check(file, None), bill.check(file, exported / "late")) == (0, 0)
    assert bill.check(file, exported / "out") == 1


@pytest.mark.slow
def test_wrong_input(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    publisher = {"publisher": "lumen", "month": "2027-01", "status": "open", "totals": [], "lines": []}
    (tmp_path / "theirs.json").write_text(json.dumps(publisher))
    assert bill.check(tmp_path / "theirs.json", None) == 0
    statement = json.loads((exported / "june.json").read_bytes())
    (tmp_path / "month.json").write_text(json.dumps(statement | {"month": "2026-13"}))
    spoilt = tmp_path / "spoilt"
    shutil.copytree(exported / "out", spoilt)
    next(spoilt.rglob("*.parquet")).write_bytes(b"PAR1 and no more")
    for arguments, said in (
        (("--statement", tmp_path / "none.json"), "No such file"),
        (("--statement", tmp_path / "bad.json"), "is not a statement as JSON"),
        (("--statement", exported / "june.json", "--export", tmp_path), "No such file"),
        (
            ("--statement", tmp_path / "theirs.json", "--export", exported / "out"),
            "an advertiser's statement",
        ),
        (("--export", exported / "out"), "goes with --statement"),
        (
            ("--statement", exported / "june.json", "--export", exported / "late"),
            "does not hold all of 2027-01",
        ),
        (("--statement", exported / "june.json", "--export", exported / "early"), "does not hold all of"),
        (("--statement", tmp_path / "month.json"), "month.json is not a statement"),
        (("--statement", exported / "june.json", "--export", spoilt), "is not what an export writes"),
    ):
        assert said in wrong("verify", *arguments)
