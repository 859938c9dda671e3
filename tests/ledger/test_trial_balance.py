"""The trial balance: it adds up to nothing, says what movements and balances say, and what was changed is
named."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ledger_samples import DAY, NOW_MS, PRICE, budget, decided, placement, recorded, request, reversed_, terms
from sqlalchemy import Connection, text
from test_cli import run
from test_leases import NOW_MS as SOLD_MS
from test_leases import closing_tills, opened, sell, shelf, show  # noqa: F401
from test_ledger_places import post
from verified_samples import credited, differences, keep, sound

from adserver.databases import Database, Place
from adserver.domain.accounts import Account, Movement, sums
from adserver.domain.records import Record, Status, Unbilled
from adserver.ledger.audit_ledger import reading
from adserver.ledger.dialects import open_database
from adserver.ledger.movements import Unnamed, read_movements
from adserver.ledger.place import LEDGER
from adserver.ledger.titles import Titles
from adserver.ledger.trial_balance import date_of, earliest_day, read_accounts
from adserver.ledger.verify import verify

EVERYTHING = 10_000
Sides = tuple[int, int]


def accounts(place: Place, since_day: int = 0) -> dict[str, Sides]:
    with reading(place) as connection:
        return by_name(read_accounts(connection, since_day))


def by_name(found: list[Account]) -> dict[str, Sides]:
    return {account.name: (account.debits, account.credits) for account in found}


def moved(place: Place, name: str, most: int = EVERYTHING) -> list[Movement]:
    with reading(place) as connection:
        return read_movements(connection, name, most)


def adds_up(connection: Connection) -> None:
    """To nothing in each unit, and each account to its movements; what is owed also to the balances."""
    found = read_accounts(connection, 0)
    assert all(debits == credits for debits, credits in sums(found).values())
    for account in found:
        each = read_movements(connection, account.name, EVERYTHING)
        assert (sum(m.debits for m in each), sum(m.credits for m in each)) == by_name([account])[account.name]
        others = {other.title for other in found}
        assert {m.other for m in each} <= others, account.name
    owed = {account.name: account.balance for account in found if account.book == "owed"}
    balances = dict(connection.execute(text("SELECT account, balance_nanos FROM balances")).all())
    assert owed == balances


# -- a small one, by hand --------------------------------------------------------------------------------

LIMITS = (budget("line_item:1", 10 * PRICE), budget("campaign:10", 3 * PRICE, "day"))


def small() -> list[Record]:
    """Two impressions billed, one of them taken back; one free, one filtered; money paid in."""
    asked = [request(number, NOW_MS + number) for number in range(1, 5)]
    bills = [recorded(mine) for mine in asked[:2]]
    return [
        terms(1, LIMITS),
        placement(revenue_share_ppm=750_000),
        *(decided(mine) for mine in asked),
        *bills,
        recorded(asked[2], billed=0, unbilled=Unbilled.OVER_BUDGET, free=PRICE),
        recorded(asked[3], status=Status.FILTERED, unbilled=Unbilled.FILTERED),
        reversed_(bills[0]),
        credited("a", "deposit", 10**6),
        credited("b", "credit", 5000),
    ]


def test_of_a_few_events(tmp_path: Path) -> None:
    found = accounts(keep(tmp_path, small()) / LEDGER, DAY)
    share, today = PRICE * 3 // 4, date_of(DAY)
    assert found == {
        "advertiser:20:EUR": (2 * PRICE, PRICE),
        "publisher:3:EUR": (share, 2 * share),
        "operator:EUR": (PRICE - share + 5_000_000, 2 * (PRICE - share)),
        "cash:EUR": (10**9, 0),
        "wallet:20:EUR": (0, 10**9),
        "credit:20:EUR": (0, 5_000_000),
        "granted:line_item:1:EUR": (0, 10 * PRICE),
        "budget:line_item:1:EUR": (11 * PRICE, 2 * PRICE),
        "used:line_item:1:EUR": (2 * PRICE, PRICE),
        f"granted:campaign:10:{today}:EUR": (0, 3 * PRICE),
        f"budget:campaign:10:{today}:EUR": (4 * PRICE, 2 * PRICE),
        f"used:campaign:10:{today}:EUR": (2 * PRICE, PRICE),
        **both_sides("free", PRICE, "EUR"),
        **both_sides("invalid", PRICE, "EUR"),
        **both_sides("filtered", 1, "events"),
    }


def both_sides(what: str, amount: int, unit: str) -> dict[str, Sides]:
    found = {f"{what}:{party}:{unit}": (amount, 0) for party in ("line_item:1", "advertiser:20")}
    return found | {f"{what}:{party}:{unit}": (0, amount) for party in ("publisher:3", "operator")}


def test_movements_newest_first(tmp_path: Path) -> None:
    ledger = keep(tmp_path, small()) / LEDGER
    told = [(m.what, m.other, m.debits, m.credits) for m in moved(ledger, "budget:line_item:1:EUR")]
    used = "used:line_item:acme/summer/item-1:EUR"
    assert told == [
        ("reversal of impression", used, PRICE, 0),
        ("impression", used, 0, PRICE),
        ("impression", used, 0, PRICE),
        ("limit", "granted:line_item:acme/summer/item-1:EUR", 10 * PRICE, 0),
    ]
    whole = moved(ledger, "budget:line_item:1:EUR")
    assert [moved(ledger, "budget:line_item:1:EUR", most) for most in (1, 2, 3)] == [
        whole[:most] for most in (1, 2, 3)
    ]
    assert [m.reference for m in moved(ledger, "wallet:20:EUR")] == ["a"]
    assert [(m.what, m.other) for m in moved(ledger, "operator:EUR")][-1] == ("credit", "credit:acme:EUR")


def test_a_day_has_accounts_as_long_as_it_lasts_somewhere(tmp_path: Path) -> None:
    ledger = keep(tmp_path, small()) / LEDGER
    ends_ms = (DAY + 1) * 86_400_000 + 12 * 3_600_000
    there = [
        any(date_of(DAY) in name for name in accounts(ledger, earliest_day(now_ms)))
        for now_ms in (NOW_MS, ends_ms - 1, ends_ms)
    ]
    assert there == [True, True, False]


GRANTED = {
    "raised and lowered": (
        [
            terms(1, (budget("line_item:1", limit),), at_ms=NOW_MS + number, revision=number)
            for number, limit in enumerate((5, 9, 2), 1)
        ],
        (7, 9),
    ),
    "lifted and given back": (
        [
            terms(1, (budget("line_item:1", 5),)),
            terms(1, at_ms=NOW_MS + 1, revision=2),
            terms(1, (budget("line_item:1", 4),), at_ms=NOW_MS + 2, revision=3),
        ],
        (5, 9),
    ),
    "lifted": ([terms(1, (budget("line_item:1", 5),)), terms(1, at_ms=NOW_MS + 1, revision=2)], None),
    "told by one who had not heard": (
        [
            terms(1, (budget("campaign:10", 3),), at_ms=NOW_MS, revision=2),
            terms(2, (budget("campaign:10", 5),), at_ms=NOW_MS + 1, revision=1),
        ],
        (0, 3),
    ),
}


@pytest.mark.parametrize(("told", "sides"), GRANTED.values(), ids=GRANTED.keys())
def test_what_was_granted(tmp_path: Path, told: list[Record], sides: Sides | None) -> None:
    found = accounts(keep(tmp_path, [*told, placement()]) / LEDGER)
    assert next((found[name] for name in found if name.startswith("granted")), None) == sides
    assert differences(tmp_path) == []


def test_who_pays_ahead_is_granted_what_was_paid_in(tmp_path: Path) -> None:
    ahead = (budget("advertiser:20", 0, "prepaid"), budget("advertiser:20", 3_000_000))
    records = [credited("a", "deposit", 2000), terms(1, ahead), placement(), credited("b", "make_good", 7000)]
    ledger = keep(tmp_path, records) / LEDGER
    assert accounts(ledger)["granted:advertiser:20:EUR"] == (0, 3_000_000)
    assert differences(tmp_path) == []


def test_reserved_is_what_is_leased_and_not_spent(tmp_path: Path) -> None:
    tills = [opened(tmp_path, number, shelf(campaign=30)) for number in (1, 2)]
    for till in tills:
        show(till, sell(till, 3))
        sell(till, 1)
        till.post()
        till.turn(SOLD_MS)
    ledger, name = tmp_path / LEDGER, "reserved:campaign:10:EUR"
    with reading(ledger) as connection:
        adds_up(connection)
        left = text(
            "SELECT holder, granted_nanos - spent_nanos FROM leases WHERE account = 'campaign:10' AND day < 0"
        )
        leases = connection.execute(left).all()
    assert accounts(ledger)[name] == (sum(nanos for _, nanos in leases), 0)
    told = sorted((m.reference, m.debits) for m in moved(ledger, name))
    assert told == sorted((f"worker {holder}", nanos) for holder, nanos in leases)
    assert differences(tmp_path) == []


@pytest.mark.slow
def test_books_that_do_not_add_up(tmp_path: Path) -> None:
    keep(tmp_path, sound())
    with closing(sqlite3.connect(tmp_path / LEDGER)) as books, books:
        books.execute("UPDATE totals SET free_nanos = free_nanos + 7 WHERE line_item = 2 AND day < 0")
    done = run("accounts", "--data", tmp_path)
    assert done.returncode == 1
    assert "free:line_item:acme/summer/item-2:EUR" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line == "adserver: the accounts do not add up: 14 (free, EUR); adserver verify says why"


# -- wherever the ledger is ------------------------------------------------------------------------------


def test_it_adds_up(tmp_path: Path, place: Place) -> None:
    keep(tmp_path, sound(), place=place)
    with reading(place) as connection:
        adds_up(connection)


@pytest.mark.parametrize("size", [1, 7])
def test_however_it_was_posted(tmp_path: Path, place: Place, size: int) -> None:
    post(place, sound(), size)
    assert accounts(place) == accounts(keep(tmp_path / "whole", sound()) / LEDGER)


def test_a_ledger_in_postgresql_reads_alike(tmp_path: Path, server: Database) -> None:
    keep(tmp_path, sound(), place=server)
    there = keep(tmp_path / "file", sound()) / LEDGER
    found = accounts(server)
    assert found == accounts(there)
    assert {name: moved(server, name, 3) for name in found} == {name: moved(there, name, 3) for name in found}


def test_titles_are_ids(tmp_path: Path) -> None:
    with reading(keep(tmp_path, small()) / LEDGER) as connection:
        titles = Titles(connection)
    told = (
        "used:campaign:10:2027-01-15:EUR",
        "wallet:20:EUR",
        "publisher:3:EUR",
        "free:operator:EUR",
        "credit:9:EUR",
    )
    assert [titles.of(name) for name in told] == [
        "used:campaign:acme/summer:2027-01-15:EUR", "wallet:acme:EUR", "publisher:lumen:EUR",
        "free:operator:EUR", "credit:9:EUR",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["", "cash", "nobody:1:EUR", "advertiser:1", "advertiser:1:2:EUR", "free:EUR", "free:cash:1:EUR",
     "used:publisher:3:EUR", "used:campaign:x:EUR", "used:campaign:-1:EUR", "used:campaign:1:today:EUR",
     "free:line_item:99999999999999999999:EUR", "' OR 1=1 --:1:EUR"],
)  # fmt: skip
def test_no_account_has_such_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unnamed):
        moved(keep(tmp_path, small()) / LEDGER, name)


# -- what the audit says ---------------------------------------------------------------------------------

TAMPERED = {
    "what an advertiser owes": ("totals", "billed_nanos = billed_nanos + 1", "advertiser:20:EUR"),
    "what a publisher is owed": ("earned", "share_nanos = share_nanos + 1", "publisher:3:EUR"),
    "what the operator keeps": ("earned", "nanos = nanos + 1", "operator:EUR"),
    "what was paid in": ("credits", "amount_micros = 1", "wallet:20:EUR"),
    "what was granted": (
        "budget_limits", f"limit_nanos = {PRICE} WHERE account = 'line_item:1'", "granted:line_item:1:EUR"
    ),
    "what is left": (
        "budgets", "billed_nanos = billed_nanos - 1 WHERE account = 'line_item:1' AND day < 0",
        "budget:line_item:1:EUR",
    ),
    "what is left of a day": (
        "budgets", "billed_nanos = billed_nanos - 1 WHERE account = 'campaign:10' AND day > 0",
        f"budget:campaign:10:{date_of(DAY)}:EUR",
    ),
    "what was used": ("totals", "refunded_nanos = 0 WHERE day < 0", "used:line_item:1:EUR"),
    "free, of a line item": ("totals", "free_nanos = 1 WHERE day < 0", "free:line_item:1:EUR"),
    "free, by a publisher": ("rollups", "free_nanos = 1 WHERE free_nanos > 0", "free:publisher:3:EUR"),
    "invalid, of a line item": ("totals", "refunded_nanos = 1 WHERE day < 0", "invalid:line_item:1:EUR"),
    "invalid, by a publisher": (
        "rollups", "refunded_nanos = 1 WHERE refunded_nanos > 0", "invalid:publisher:3:EUR"
    ),
    "filtered, of a line item": ("totals", "filtered = 5 WHERE day < 0", "filtered:line_item:1:events"),
    "filtered, by a publisher": ("rollups", "filtered = 5 WHERE filtered > 0", "filtered:publisher:3:events"),
}  # fmt: skip


@contextmanager
def changed(place: Place) -> Iterator[Connection]:
    """As somebody with the file could."""
    engine = open_database(place)
    with engine.begin() as connection:
        for name in ("credits",):
            connection.execute(text(f"DROP TRIGGER IF EXISTS {name}_no_update"))
        yield connection
    engine.dispose()


@pytest.mark.parametrize(("table", "change", "name"), TAMPERED.values(), ids=TAMPERED.keys())
def test_what_was_changed_is_named(tmp_path: Path, table: str, change: str, name: str) -> None:
    place = keep(tmp_path, small()) / LEDGER
    with changed(place) as connection:
        assert connection.execute(text(f"UPDATE {table} SET {change}")).rowcount > 0
    found = differences(tmp_path)
    assert any(difference.startswith(f"account {name}:") for difference in found), found


ONE_SIDED = [name for name, (table, _, _) in TAMPERED.items() if table in ("totals", "budgets", "rollups")]


@pytest.mark.parametrize("name", ONE_SIDED)
def test_one_side_changed_adds_up_no_more(tmp_path: Path, name: str) -> None:
    """The two sides of a pair are sums of their own."""
    place = keep(tmp_path, small()) / LEDGER
    with changed(place) as connection:
        connection.execute(text(f"UPDATE {TAMPERED[name][0]} SET {TAMPERED[name][1]}"))
    assert any(found.startswith("the accounts of ") for found in differences(tmp_path))


def test_what_was_spent_of_a_lease_is_named(tmp_path: Path) -> None:
    till = opened(tmp_path, 1, shelf(campaign=6))
    show(till, sell(till, 3))
    till.leave(SOLD_MS)
    assert differences(tmp_path) == []
    with closing(sqlite3.connect(tmp_path / LEDGER)) as books, books:
        books.execute("UPDATE leases SET spent_nanos = 1 WHERE account = 'campaign:10' AND day < 0")
    assert any(found.startswith("account reserved:campaign:10:EUR:") for found in differences(tmp_path))


def test_a_word_where_a_number_should_be(tmp_path: Path) -> None:
    place = keep(tmp_path, small()) / LEDGER
    with changed(place) as connection:
        connection.execute(text("UPDATE totals SET free_nanos = 'much' WHERE day < 0"))
    assert any("cannot be added up" in found for found in differences(tmp_path))


def test_of_a_ledger_in_postgresql_too(tmp_path: Path, server: Database) -> None:
    keep(tmp_path, small(), place=server)
    engine = open_database(server)
    with engine.begin() as connection:
        connection.execute(text("UPDATE totals SET free_nanos = 1 WHERE day < 0"))
    engine.dispose()
    found = verify(tmp_path, lambda line: None, server)
    assert any(line.startswith("account free:line_item:1:EUR:") for line in found), found
