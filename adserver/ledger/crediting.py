"""Posting what operators book for advertisers: each once, as an entry of its own."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from adserver.domain import money
from adserver.domain.credits import Credit, accounts, entry_id
from adserver.domain.records import Credited
from adserver.ledger.wallets import Wallets

_COLUMNS = "id, kind, currency, amount_micros, at_ms, reason"
_ADD = text(
    f"INSERT INTO credits (advertiser, {_COLUMNS}) "
    "VALUES (:advertiser, :id, :kind, :currency, :amount_micros, :at_ms, :reason) ON CONFLICT DO NOTHING"
)
_ENTER = text(
    "INSERT INTO entries (event_id, kind, reversal, debit, credit, currency, amount_nanos) "
    "VALUES (:event_id, 0, 0, :debit, :credit, :currency, :nanos)"
)
_MOVE = text(
    "INSERT INTO balances (account, balance_nanos) VALUES (:account, :nanos) "
    "ON CONFLICT (account) DO UPDATE SET balance_nanos = balances.balance_nanos + excluded.balance_nanos"
)


def post(connection: Connection, credited: Credited, wallets: Wallets) -> None:
    """Does nothing where it is in the books already."""
    values = {name: getattr(credited, name) for name in Credited.__struct_fields__}
    if connection.execute(_ADD, values).rowcount < 1:
        return
    debit, credit = accounts(credited.kind, credited.advertiser, credited.currency)
    nanos = money.nanos(credited.amount_micros)
    entry = {"event_id": entry_id(credited.advertiser, credited.id), "debit": debit, "credit": credit}
    connection.execute(_ENTER, {**entry, "currency": credited.currency, "nanos": nanos})
    for account, amount in ((debit, nanos), (credit, -nanos)):
        connection.execute(_MOVE, {"account": account, "nanos": amount})
    wallets.pay_in(credited.advertiser, credited.currency, nanos)


def find(connection: Connection, advertiser: int, credit: str) -> Credit | None:
    found = text(f"SELECT {_COLUMNS} FROM credits WHERE advertiser = :advertiser AND id = :id")
    row = connection.execute(found, {"advertiser": advertiser, "id": credit}).first()
    return None if row is None else Credit(*row)


def paid_in(connection: Connection) -> Iterator[tuple[int, str, int]]:
    """(advertiser, currency, micros) of everything booked for it."""
    found = "SELECT advertiser, currency, sum(amount_micros) FROM credits GROUP BY advertiser, currency"
    return ((row[0], row[1], row[2]) for row in connection.execute(text(found)).all())


def due(connection: Connection, advertiser: int) -> list[Credit]:
    """What comes off the advertiser's next statement: on none yet, and no deposit."""
    found = text(
        f"SELECT {_COLUMNS} FROM credits WHERE advertiser = :advertiser AND kind <> 'deposit' "
        "AND id NOT IN (SELECT id FROM statement_credits WHERE advertiser = :advertiser) ORDER BY id"
    )
    return [Credit(*row) for row in connection.execute(found, {"advertiser": advertiser})]


def take_off(connection: Connection, advertiser: int, month: int, credits: list[Credit]) -> None:
    """They are on the statement of this month."""
    add = text("INSERT INTO statement_credits (advertiser, id, month) VALUES (:advertiser, :id, :month)")
    for credit in credits:
        connection.execute(add, {"advertiser": advertiser, "id": credit.id, "month": month})


def taken_off(connection: Connection, advertiser: int, month: int) -> list[Credit]:
    columns = ", ".join(f"c.{name.strip()}" for name in _COLUMNS.split(","))
    found = text(
        f"SELECT {columns} FROM credits c JOIN statement_credits s ON s.advertiser = c.advertiser "
        "AND s.id = c.id WHERE s.advertiser = :advertiser AND s.month = :month ORDER BY c.id"
    )
    return [Credit(*row) for row in connection.execute(found, {"advertiser": advertiser, "month": month})]
