"""Several journals, one ledger: each posted by its own poster, one set of books, one audit."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import NOW_MS, PRICE, budget, decided, person, placement, recorded, request, terms
from verified_samples import differences

from adserver.domain.books import Position
from adserver.domain.records import Decided, Record
from adserver.ledger import journals
from adserver.ledger.audit_walk import Walk, together
from adserver.ledger.guards import WINDOW_MS, Guards
from adserver.ledger.journal import Journal
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.ledger.verify import verify
from adserver.ledger.writer import LedgerWriter

BUDGET = 40 * PRICE


def told(limit: int = BUDGET, revision: int = 1, at_ms: int = NOW_MS) -> list[Record]:
    return [terms(1, (budget("campaign:10", limit),), at_ms=at_ms, revision=revision), placement()]


def keep(data: Path, *contents: list[Record]) -> None:
    for number, records in enumerate(contents):
        folder = journals.folder_of(data, number)
        folder.mkdir(parents=True, exist_ok=True)
        with closing(Journal(folder, 16 * 1024)) as journal:
            for record in records:
                journal.append(record, person() if isinstance(record, Decided) else None)


def sold(*numbers: int) -> list[Record]:
    """Ads decided and shown, a second each."""
    mine = [request(number, NOW_MS + number * 1000) for number in numbers]
    return [record for one in mine for record in (decided(one), recorded(one))]


def billed(data: Path) -> dict[str, int]:
    with closing(sqlite3.connect(data / "ledger.sqlite")) as books:
        return dict(books.execute("SELECT account, billed_nanos FROM budgets WHERE day = -1").fetchall())


def test_where_they_lie(tmp_path: Path) -> None:
    assert journals.numbers_in(tmp_path) == [0]
    for number in (0, 2, 11):
        journals.folder_of(tmp_path, number).mkdir(parents=True)
    (tmp_path / "journals" / "1.old").mkdir()
    assert journals.numbers_in(tmp_path) == [0, 2, 11]
    journals.folder_of(tmp_path, 0).rmdir()
    assert journals.numbers_in(tmp_path) == [2, 11]
    assert [journals.consumer_of(number) for number in (0, 2)] == ["posting", "posting:2"]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(turns=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=30))
def test_posters_of_several_journals_make_one_set_of_books(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, int]]
) -> None:
    """In any order and portions: what one of them knows of a budget, another has moved since."""
    data = tmp_path_factory.mktemp("data")
    keep(data, *([*told(), *sold(*range(first, 30, 3))] for first in range(3)))
    writers = [LedgerWriter(data / "ledger.sqlite", journals.consumer_of(number)) for number in range(3)]
    readers = [Reader(journals.folder_of(data, number)) for number in range(3)]
    posters = [Poster(reader, writer) for reader, writer in zip(readers, writers, strict=True)]
    for number, records in turns:
        posters[number].step(records)
    assert differences(data) == []
    for poster, reader, writer in zip(posters, readers, writers, strict=True):
        poster.drain()
        assert writer.refused == 0
        reader.close()
        writer.close()
    assert billed(data) == dict.fromkeys(("line_item:1", "campaign:10", "advertiser:20"), 30 * PRICE)
    assert differences(data) == []


def post(data: Path, count: int) -> None:
    for number in range(count):
        writer = LedgerWriter(data / "ledger.sqlite", journals.consumer_of(number))
        with closing(writer), closing(Reader(journals.folder_of(data, number))) as reader:
            Poster(reader, writer).drain()


@pytest.mark.parametrize("number", [0, 1])
def test_the_audit_reads_them_all(tmp_path: Path, number: int) -> None:
    """A journal of which records are gone is found, whichever it is."""
    keep(tmp_path, [*told(), *sold(1, 2)], [*told(), *sold(3)])
    post(tmp_path, 2)
    assert differences(tmp_path) == []
    (segment,) = journals.folder_of(tmp_path, number).glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:64])
    found = differences(tmp_path)
    assert found[0].startswith(f"the journal{' 1' if number else ''} ends at"), found


def test_the_journals_of_several_machines_explain_their_ledger_together(tmp_path: Path) -> None:
    """Whoever has but some of them finds no event a phantom, and no audit whole."""
    one, two = tmp_path / "one", tmp_path / "two"
    keep(one, [*told(), *sold(1, 2)], [*told(), *sold(3)])
    post(one, 2)
    (two / "journals").mkdir(parents=True)
    journals.folder_of(one, 1).rename(journals.folder_of(two, 1))
    assert verify(one, lambda _: None, None, [two]) == []
    assert verify(two, lambda _: None, one / "ledger.sqlite", [one]) == []
    for mine, theirs in ((one, "posting:1"), (two, "posting")):
        (found,) = verify(mine, lambda _: None, one / "ledger.sqlite")
        assert f"posted from journals elsewhere too ({theirs})" in found
    (found,) = verify(one, lambda _: None, None, [two, two])
    assert "journal 1 is in" in found
    (segment,) = journals.folder_of(two, 1).glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:64])
    assert verify(one, lambda _: None, None, [two])[0].startswith("the journal 1 ends at")


def test_an_event_in_two_journals_is_in_the_books_once_and_told(tmp_path: Path) -> None:
    keep(tmp_path, [*told(), *sold(1)], [*told(), *sold(1)[1:]])
    post(tmp_path, 2)
    assert billed(tmp_path)["campaign:10"] == PRICE
    assert any("recorded twice" in found for found in differences(tmp_path))


def test_over_the_budget_together_is_told(tmp_path: Path) -> None:
    keep(tmp_path, [*told(3 * PRICE), *sold(1, 2)], [*told(3 * PRICE), *sold(3, 4)])
    post(tmp_path, 2)
    assert billed(tmp_path)["campaign:10"] == 3 * PRICE
    assert any("campaign:10 lifetime billed" in found for found in differences(tmp_path))


def test_a_process_that_heard_of_a_new_limit_later(tmp_path: Path) -> None:
    """Raised in one, which spends it; the other sells by the old limit for a second more, and says so."""
    first = [*told(2 * PRICE), *told(4 * PRICE, 2, NOW_MS + 500), *sold(1, 2, 4)]
    second = [*told(2 * PRICE, 1, NOW_MS + 2500), *sold(3)]
    keep(tmp_path, first, second)
    post(tmp_path, 2)
    assert billed(tmp_path)["campaign:10"] == 4 * PRICE
    assert differences(tmp_path) == []


@pytest.mark.parametrize(("at_s", "told"), [(3, False), (5, True)])
def test_a_lowered_limit_is_heard_of_within_two_seconds(tmp_path: Path, at_s: int, told: bool) -> None:
    """Until then the other process sells by the one it knows; afterwards that is over the budget."""
    first = [*told_at(3, 1, 0), *sold(1), *told_at(2, 2, 2000)]
    keep(tmp_path, first, [*told_at(3, 1, 1500), *sold(2, at_s)])
    post(tmp_path, 2)
    found = [one for one in differences(tmp_path) if "campaign:10 lifetime" in one]
    assert bool(found) == told, found


def told_at(prices: int, revision: int, ms: int) -> list[Record]:
    return told(prices * PRICE, revision, NOW_MS + ms)


def test_the_guard_of_a_limit_told_late() -> None:
    """The newest stays in force; a higher one that was told late held for as long as a promise does."""
    guards = Guards()
    for limit, revision, at_ms in ((100, 1, 0), (50, 3, 1000), (80, 2, 2000), (20, 2, 3000)):
        guards.learn(terms(1, (budget("campaign:10", limit),), at_ms=at_ms, revision=revision))
    found = [guards.guard("campaign:10", "lifetime", at) for at in (3000, WINDOW_MS, WINDOW_MS + 3001)]
    assert found == [100, 100, 50]


def test_records_come_in_the_order_of_time(tmp_path: Path) -> None:
    """And in each journal's own, also where its clock went back."""
    keep(tmp_path, [*sold(1, 5), *sold(4)], sold(2, 3))
    walks = [Walk(number, journals.folder_of(tmp_path, number), Position(), print) for number in range(2)]
    found = [read.record for read in together(walks)]
    order = [r.decision.now_ms - NOW_MS for r in found if isinstance(r, Decided)]
    assert order == [1000, 2000, 3000, 5000, 4000]


def test_positions_are_each_journals_own(tmp_path: Path) -> None:
    keep(tmp_path, [*told(), *sold(1)], told())
    post(tmp_path, 2)
    for number in (0, 1, 2):
        ledger = LedgerWriter(tmp_path / "ledger.sqlite", journals.consumer_of(number))
        assert (ledger.position > Position()) == (number < 2)
        ledger.close()
