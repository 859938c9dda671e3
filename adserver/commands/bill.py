"""``adserver verify --statement``: a bill checked by whoever received it, without access to the server."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec

from adserver.domain import ids
from adserver.domain.bills import (
    CLOSINGS,
    Bill,
    Closing,
    Exported,
    Moved,
    against,
    as_closed,
    by_itself,
    cited,
)
from adserver.domain.statements import WESTERNMOST_MS, month_end_ms, month_of, parse_month
from adserver.options import Wrong

_EPOCH: Final = date(1970, 1, 1)
_EASTERNMOST_MS: Final = 14 * 3600_000
"""A month begins first where it is UTC+14."""


def check(file: Path, folder: Path | None) -> int:
    """Print every difference; how many there are. ``folder``: an export. Raises Wrong."""
    bill = _read(file, Bill, "a statement as JSON (adserver statement ... --json)")
    try:
        month = parse_month(bill.month)
    except ValueError as error:
        raise Wrong(f"{file} is not a statement: {error}") from None
    found = list(by_itself(bill))
    if folder is not None:
        if not bill.advertiser:
            raise Wrong("exports tell what advertisers are billed: check an advertiser's statement")
        found += _against(bill, month, folder)
    for difference in found:
        print(difference)
    whose, what = bill.advertiser or bill.publisher, "" if folder is None else " and the export"
    told = "no differences" if not found else f"{len(found)} differences"
    print(f"{whose}, {bill.month}, {bill.status}: {len(bill.lines)} lines{what}: {told}")
    return len(found)


def _against(bill: Bill, month: int, folder: Path) -> Iterator[str]:
    exported = _read(folder / CLOSINGS, Exported, "what an export says of itself")
    begins_ms, ends_ms = month_end_ms(month - 1) - _EASTERNMOST_MS, month_end_ms(month) + WESTERNMOST_MS
    if exported.from_ms > max(begins_ms, 0) or exported.to_ms < ends_ms:
        raise Wrong(f"{folder} does not hold all of {bill.month}: export that month whole, or everything")
    closing = cited(bill, [one for one in exported.closings if _is_of(bill, one)])
    yield from as_closed(bill, closing)
    until = closing.place if closing is not None and bill.status == "closed" else 1 << 62
    yield from against(bill, _moved(bill, month, folder, until), exported.from_ms == 0)


def _is_of(bill: Bill, closing: Closing) -> bool:
    """Whose months are closed that never sold anything, as one may be who was only given credit, no journal
    says: that is known by the place cited."""
    if (closing.party, closing.month) != ("advertiser", bill.month):
        return False
    return closing.owner == bill.advertiser or (not closing.owner and closing.journal == bill.journal)


def _moved(bill: Bill, month: int, folder: Path, until: int) -> Iterator[Moved]:
    """Of the advertiser, up to the month's end, before the place ``until`` of the journal."""
    mine = [("advertiser", "=", bill.advertiser), ("billed_nanos", "!=", 0), ("place", "<", until)]
    for path in sorted(folder.rglob("*.parquet")):
        for row in _rows(path, mine):
            of = month_of((row["day"] - _EPOCH).days)
            if of <= month:
                name = f"{row['campaign']}/{row['line_item']}"
                units = int(row["kind"] != "fee" or not ids.index_of(ids.decode(row["event_id"])))
                yield Moved(name, row["kind"], of < month, row["currency"], row["billed_nanos"], units)


def _rows(path: Path, mine: Sequence[tuple[str, str, Any]]) -> list[dict[str, Any]]:
    """Those of an export's file that are wanted."""
    parquet = _parquet()
    import pyarrow

    columns = ["campaign", "line_item", "kind", "day", "currency", "billed_nanos", "place", "event_id"]
    try:
        found = parquet.ParquetDataset(path, filters=mine, partitioning=None).read(columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise Wrong(f"{path} is not what an export writes: {error}") from None
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


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
