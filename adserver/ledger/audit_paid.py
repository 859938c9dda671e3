"""Who was paid what, audited: every bill split once more, and what accounts come to by it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from msgspec import Struct

from adserver.ledger.audit_books import Heard, Pair
from adserver.ledger.audit_rows import Array, Groups, dtype_of

_PPM: Final = 1_000_000


class Paid(Struct, frozen=True):
    """What moved between accounts: of each of these rows so many ``nanos``, from debit to credit of its
    ``pair``. ``part``: as in the ledger, 0 is the publisher's, 2 the operator's, 1 more for a reversal."""

    part: int
    rows: Array
    nanos: Array
    pairs: list[Pair]


class Split:
    """By the shares in force at each event."""

    def __init__(self, heard: Heard) -> None:
        self._publishers = heard.pairs
        self._operators = [(debit, f"operator:{currency}", currency) for debit, _, currency in heard.pairs]
        self._shares = np.array(heard.shares, np.int64)

    def earned(self, rows: Array) -> Array:
        """The publisher's part of each, rounded down; in 64 bits."""
        whole, rest = np.divmod(rows["billed"], _PPM)
        share = self._shares[rows["pair"]] if len(rows) else np.zeros(0, np.int64)
        earned: Array = whole * share + rest * share // _PPM
        return earned

    def paid(self, rows: Array, reversal: int) -> list[Paid]:
        """Both parts of each, where there is any."""
        earned, found = self.earned(rows), []
        for part, nanos, pairs in (
            (0, earned, self._publishers),
            (2, rows["billed"] - earned, self._operators),
        ):
            turned = [(c, d, currency) if reversal else (d, c, currency) for d, c, currency in pairs]
            found.append(Paid(part + reversal, rows[nanos != 0], nanos[nanos != 0], turned))
        return found


def balances_of(entries: Iterable[Paid]) -> dict[str, int]:
    """Account -> debits minus credits."""
    balances: defaultdict[str, int] = defaultdict(int)
    for paid in entries:
        groups = Groups(paid.rows["pair"])
        for (pair,), nanos in zip(groups.keys, groups.sums(paid.nanos), strict=True):
            debit, credit, _ = paid.pairs[pair]
            balances[debit] += nanos
            balances[credit] -= nanos
    return dict(balances)


def booked(credits: Mapping[Any, tuple[Any, ...]]) -> Iterator[Paid]:
    """An entry of its own for each: (advertiser, id) -> kind, currency, amount in micros, ..."""
    for (advertiser, credit), (kind, currency, micros, *_) in credits.items():
        rows = np.zeros(1, dtype_of(("kind", "pair")))
        rows["id"] = blake2b(f"{advertiser}/{credit}".encode(), digest_size=16).digest()
        side, other = ("cash", "wallet") if kind == "deposit" else ("operator", "credit")
        pair = f"{side}:{currency}", f"{other}:{advertiser}:{currency}", currency
        yield Paid(0, rows, np.array([micros * 1000], np.int64), [pair])
