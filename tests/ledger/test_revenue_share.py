"""What a publisher earns of a bill: rounded down for each event by itself, the rest the operator's."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import NOW_MS, PRICE, decided, placement, recorded, request, reversed_, terms
from test_posting import post, rows
from verified_samples import differences, keep, sound

from adserver.domain import money
from adserver.domain.records import Record

WHO = ("advertiser:20:EUR", "publisher:3:EUR", "operator:EUR")


def sold(number: int, price: int = PRICE) -> list[Record]:
    mine = request(number, NOW_MS + number)
    return [decided(mine, price=price), recorded(mine, billed=price)]


def balances(path: Path) -> dict[str, int]:
    return {account: nanos for account, nanos in rows(path)["balances"] if nanos}


@pytest.mark.parametrize("share", [0, 1, 333_333, 700_000, 999_999, 1_000_000])
@pytest.mark.parametrize("price", [1, 3, PRICE, 10**15])
def test_the_rest_is_the_operators(tmp_path: Path, share: int, price: int) -> None:
    keep(tmp_path, [terms(1), placement(revenue_share_ppm=share), *sold(1, price)])
    earned = price * share // 1_000_000
    expected = {WHO[0]: price, WHO[1]: -earned, WHO[2]: earned - price}
    assert balances(tmp_path / "ledger.sqlite") == {name: nanos for name, nanos in expected.items() if nanos}
    assert differences(tmp_path) == []


bills = st.lists(
    st.tuples(st.integers(0, 1_000_000), st.integers(1, 10**12), st.booleans()), min_size=1, max_size=12
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(bills, st.sampled_from((1, 2, 100)))
def test_the_share_is_that_of_the_terms_before_the_event(
    given_: list[tuple[int, int, bool]], size: int
) -> None:
    """Reversals give back what the event itself moved, whatever the share is by then; in any batches."""
    records: list[Record] = [terms(1)]
    expected: defaultdict[str, int] = defaultdict(int)
    for number, (share, price, _) in enumerate(given_):
        records += [placement(revenue_share_ppm=share), *sold(number, price)]
    for number, (share, price, back) in enumerate(given_):
        if back:
            records.append(reversed_(recorded(request(number, NOW_MS + number), billed=price)))
            continue
        earned = price * share // 1_000_000
        for account, nanos in zip(WHO, (price, -earned, earned - price), strict=True):
            expected[account] += nanos
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        post(path, records, size).close()
        assert balances(path) == {name: nanos for name, nanos in expected.items() if nanos}


def test_of_a_ledger_of_before_everything_is_the_publishers(tmp_path: Path) -> None:
    keep(tmp_path, [terms(1), placement(), *sold(1)])
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("ALTER TABLE placements DROP COLUMN share_ppm")
    assert differences(tmp_path) == []
    post(path, []).close()
    assert rows(path)["placements"][0][-1] == money.WHOLE_PPM


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM entries WHERE reversal = 2", "operator's part: missing"),
        ("UPDATE entries SET amount_nanos = amount_nanos + 1 WHERE reversal = 0", "the ledger says"),
        ("UPDATE entries SET credit = 'publisher:3:EUR' WHERE reversal = 2", "the ledger says"),
        ("UPDATE balances SET balance_nanos = balance_nanos - 1 WHERE account LIKE 'oper%'", "balance"),
    ],
)
def test_the_audit_finds_a_wrong_share(tmp_path: Path, change: str, said: str) -> None:
    keep(tmp_path, sound())
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER entries_no_{verb}")
        assert connection.execute(change).rowcount
    assert any(said in line for line in differences(tmp_path))
