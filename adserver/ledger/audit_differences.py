"""The ledger's rows against the books made again from the journal: every difference, in words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from adserver.ledger.audit_books import EVENT, REVERSAL, Pair, Tell, name_of
from adserver.ledger.audit_judging import Books
from adserver.ledger.audit_ledger import ENTRY, Posted
from adserver.ledger.audit_rows import Array, Differing, dtype_of, ordered
from adserver.ledger.audit_statements import StatementAudit

Rows = Mapping[Any, Any]


def compare(posted: Posted, books: Books, tell: Tell) -> None:
    """Tell every difference."""
    _match_rows("event", posted.events, books.events, ("kind",), EVENT, tell)
    _match_rows("filtered event", posted.filtered, books.filtered, ("kind",), EVENT, tell)
    _match_rows("reversal", posted.reversals, books.reversals, ("kind",), REVERSAL, tell)
    _match("conversion", posted.conversions, books.conversions, tell)
    _match("reason of", posted.reasons, books.reasons, tell)
    _match_entries(posted, books, tell)
    _match("totals of line item, day", posted.totals, books.totals, tell)
    if posted.shown is not None:
        _match("shown of line item, placement, creative", posted.shown, books.shown, tell)
    _match("balance", posted.balances, {(name,): (nanos,) for name, nanos in books.balances.items()}, tell)
    if posted.earned is not None:
        _match_statements(posted, books.statements, tell)
    in_budgets = {key: billed for key, (_, billed) in posted.budgets.items() if billed}
    _match("billed of budget, day", in_budgets, {k: v for k, v in books.budgets.items() if v}, tell)
    for (account, day), (limit, billed) in posted.budgets.items():
        if limit is not None and billed > limit:
            tell(f"budget {account}, day {day}: {billed} nanos billed of {limit} in the ledger")
    _balanced(posted, tell)


def _match_statements(posted: Posted, found: StatementAudit, tell: Tell) -> None:
    earned = {key: tuple(counts) for key, counts in found.earned.items()}
    _match("earned of line item, placement, month, kind", posted.earned or {}, earned, tell)
    _match("closing of party, month, instant", posted.statements, found.statements, tell)
    _match("credit of advertiser, id", posted.credits, found.credits, tell)
    _match("statement of credit of advertiser, id", posted.taken_off, found.taken_off, tell)
    _match("statement line of party, month, line item, placement", posted.lines, found.lines, tell)


def _match_rows(
    what: str, posted: Array, expected: Array, keys: Sequence[str], columns: Sequence[str], tell: Tell
) -> None:
    values = [name for name in columns if name not in keys]
    different = Differing(expected, posted, keys, values)

    def name(row: Any) -> str:
        return f"{what} {_name((bytes(row['id']), int(row['kind'])))}"

    def told(row: Any) -> tuple[int, ...]:
        return tuple(int(row[column]) for column in values)

    _tell_different(different, name, told, tell)


def _match_entries(posted: Posted, books: Books, tell: Tell) -> None:
    """Both sides with the accounts numbered alike."""
    numbers = {pair: number for number, pair in enumerate(posted.pairs)}
    expected = _expected_entries(books, numbers)
    different = Differing(expected, posted.entries, ("kind", "reversal"), ("pair", "nanos"))
    pairs = list(numbers)

    def name(row: Any) -> str:
        part = ("", ", reversal", ", operator's part", ", reversal of the operator's part")
        return f"entry {_name((bytes(row['id']), int(row['kind'])))}{part[int(row['reversal']) & 3]}"

    def told(row: Any) -> tuple[str | int, ...]:
        return (*pairs[int(row["pair"])], int(row["nanos"]))

    _tell_different(different, name, told, tell)


def _expected_entries(books: Books, numbers: dict[Pair, int]) -> Array:
    """In order. ``numbers`` learns new pairs."""
    found = []
    for paid in (*books.entries, *books.booked):
        of_pair = np.array([numbers.setdefault(pair, len(numbers)) for pair in paid.pairs], np.int64)
        entries = np.zeros(len(paid.rows), dtype_of(ENTRY))
        entries["id"], entries["kind"], entries["nanos"] = paid.rows["id"], paid.rows["kind"], paid.nanos
        entries["reversal"], entries["pair"] = paid.part, of_pair[paid.rows["pair"]] if len(entries) else 0
        found.append(entries)
    return ordered(np.concatenate(found), "kind", "reversal")


def _tell_different(
    different: Differing, name: Callable[[Any], str], told: Callable[[Any], Any], tell: Tell
) -> None:
    for row in different.missing:
        tell(f"{name(row)}: missing in the ledger, the journal says {told(row)}")
    for row in different.extra:
        tell(f"{name(row)}: the ledger says {told(row)}, the journal knows nothing of it")
    for ours, theirs in different.changed:
        tell(f"{name(ours)}: the ledger says {told(theirs)}, the journal {told(ours)}")


def _match(what: str, posted: Rows, expected: Rows, tell: Tell) -> None:
    for key in expected.keys() - posted.keys():
        tell(f"{what} {_name(key)}: missing in the ledger, the journal says {expected[key]}")
    for key in posted.keys() - expected.keys():
        tell(f"{what} {_name(key)}: the ledger says {posted[key]}, the journal knows nothing of it")
    for key in expected.keys() & posted.keys():
        if posted[key] != expected[key]:
            tell(f"{what} {_name(key)}: the ledger says {posted[key]}, the journal {expected[key]}")


def _name(key: Iterable[Any]) -> str:
    first, *rest = key
    if not isinstance(first, bytes):
        return ", ".join(str(part) for part in (first, *rest))
    return name_of(first, rest[0]).removeprefix("event ")


def _balanced(posted: Posted, tell: Tell) -> None:
    """Debits equal credits, and balances are what the entries add up to."""
    sums: dict[str, int] = {}
    nanos = np.zeros(len(posted.pairs), np.int64)
    np.add.at(nanos, posted.entries["pair"], posted.entries["nanos"])
    for (debit, credit, _), amount in zip(posted.pairs, nanos.tolist(), strict=True):
        sums[debit] = sums.get(debit, 0) + amount
        sums[credit] = sums.get(credit, 0) - amount
    for account in sorted(sums.keys() | {account for (account,) in posted.balances}):
        (balance,) = posted.balances.get((account,), (0,))
        if balance != sums.get(account, 0):
            tell(f"balance {account}: {balance} nanos, its entries add up to {sums.get(account, 0)}")
    if total := sum(balance for (balance,) in posted.balances.values()):
        tell(f"debits and credits differ by {total} nanos")
