"""``adserver verify --statement``: a bill checked by whoever received it, without access to the server."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec

from adserver.domain.bills import CLOSINGS, Bill, Exported, Moved, against, as_closed, by_itself
from adserver.domain.statements import month_of, parse_month
from adserver.options import Wrong

_EPOCH: Final = date(1970, 1, 1)


def check(file: Path, folder: Path | None) -> int:
    """Print every difference; how many there are. ``folder``: an export. Raises Wrong."""
    bill = _read(file, Bill, "a statement as JSON (adserver statement ... --json)")
    found = list(by_itself(bill))
    if folder is not None:
        if not bill.advertiser:
            raise Wrong("exports tell what advertisers are billed: check an advertiser's statement")
        found += _against(bill, folder)
    for difference in found:
        print(difference)
    whose, what = bill.advertiser or bill.publisher, "" if folder is None else " and the export"
    told = "no differences" if not found else f"{len(found)} differences"
    print(f"{whose}, {bill.month}, {bill.status}: {len(bill.lines)} lines{what}: {told}")
    return len(found)


def _against(bill: Bill, folder: Path) -> Iterator[str]:
    exported = _read(folder / CLOSINGS, Exported, "what an export says of itself")
    wanted = "advertiser", bill.advertiser, bill.month
    closing = next((one for one in exported.closings if (one.party, one.owner, one.month) == wanted), None)
    yield from as_closed(bill, closing)
    until = closing.place if closing is not None and bill.status == "closed" else 1 << 62
    yield from against(bill, _moved(bill, folder, until), exported.from_ms == 0)


def _moved(bill: Bill, folder: Path, until: int) -> Iterator[Moved]:
    """Of the advertiser, up to the month's end, before the place ``until`` of the journal."""
    parquet, month = _parquet(), parse_month(bill.month)
    columns = ["campaign", "line_item", "kind", "day", "billed_nanos", "place"]
    for path in sorted(folder.rglob("*.parquet")):
        mine = [("advertiser", "=", bill.advertiser), ("billed_nanos", "!=", 0), ("place", "<", until)]
        for row in parquet.ParquetDataset(path, filters=mine, partitioning=None).read(columns).to_pylist():
            of = month_of((row["day"] - _EPOCH).days)
            if of <= month:
                name = f"{row['campaign']}/{row['line_item']}"
                yield Moved(name, row["kind"], of < month, row["billed_nanos"])


def _read(path: Path, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise Wrong(f"{path} is not {what}: {error}") from None


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise Wrong("exports are read with pyarrow: install adserver[export]") from None
    return pyarrow.parquet
