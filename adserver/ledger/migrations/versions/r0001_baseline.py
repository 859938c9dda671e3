"""What there was when migrations began."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _text(length: int | None = None) -> sa.types.TypeEngine[Any]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


_KINDS: Final[dict[str, sa.types.TypeEngine[Any]]] = {
    "id": sa.LargeBinary(16),
    "number": sa.Integer().with_variant(sa.BigInteger(), "postgresql"),
    "big": sa.BigInteger(),
    "small": sa.SmallInteger(),
    "text": _text(),
    "text2": _text(2),
    "text3": _text(3),
}

_COUNTED: Final = (
    "impressions:big viewable:big clicks:big conversions:big filtered:big expired:big billed_nanos:big "
    "free_nanos:big invalid_impressions:big invalid_viewable:big invalid_clicks:big invalid_conversions:big "
    "refunded_nanos:big"
)
_EVENT: Final = (
    "status:small at_ms:big line_item:number creative:number placement:number day:number billed_nanos:big "
    "free_nanos:big unbilled:small reason:text test:small country:text2 device:small"
)

_TABLES: Final[dict[str, tuple[str, str]]] = {
    "conversions": (
        "key:id",
        "advertiser:number at_ms:big happened_ms:big called:text value_micros:big currency:text3 touch:id? "
        "touched:small",
    ),
    "events": ("event_id:id kind:small", _EVENT),
    "filtered": ("event_id:id kind:small", _EVENT),
    "reversals": ("event_id:id kind:small", "at_ms:big amount_nanos:big reason:text"),
    "entries": (
        "event_id:id kind:small reversal:small",
        "debit:text credit:text currency:text3 amount_nanos:big",
    ),
    "balances": ("account:text", "balance_nanos:big"),
    "budgets": ("account:text day:number", "limit_nanos:big? billed_nanos:big"),
    "totals": ("line_item:number day:number", _COUNTED),
    "shown": (
        "line_item:number placement:number creative:number",
        "impressions:big viewable:big clicks:big conversions:big",
    ),
    "line_items": (
        "serial:number",
        "full_id:text campaign:number advertiser:number currency:text3 revision:big at_ms:big model:text "
        "amount_micros:big",
    ),
    "placements": ("serial:number", "full_id:text publisher:number share_ppm:number currency:text3"),
    "budget_limits": ("number:number", "account:text period:text at_ms:big limit_nanos:big?"),
    "offsets": ("consumer:text", "segment:number byte:big"),
    "leases": (
        "account:text day:number holder:number",
        "granted_nanos:big? spent_nanos:big wanted:number",
    ),
    "holders": ("holder:number", "revision:big ended_ms:big?"),
    "earned": (
        "line_item:number placement:number month:number kind:small",
        "units:big nanos:big share_nanos:big refunded_units:big refunded_nanos:big refunded_share_nanos:big",
    ),
    "statements": (
        "party:text month:number at_ms:big",
        "stands:small segment:number byte:big chain:id",
    ),
    "statement_lines": (
        "party:text month:number line_item:number placement:number",
        "currency:text3 model:text amount_micros:big impressions:big viewable:big clicks:big conversions:big "
        "days:big refunded:big gross_nanos:big refunded_nanos:big carried_nanos:big adjusted_nanos:big "
        "micros:big",
    ),
    "credits": (
        "advertiser:number id:text",
        "kind:text currency:text3 amount_micros:big at_ms:big reason:text",
    ),
    "statement_credits": ("advertiser:number id:text", "month:number"),
    "rollups": (
        "quarter:number line_item:number creative:number placement:number country:text2 device:small",
        f"{_COUNTED} earned_nanos:big",
    ),
    "requests": (
        "quarter:number placement:number country:text2 device:small",
        "requests:big asked:big answered:big",
    ),
    "people": ("event_id:id", "person:big"),
    "creatives": ("version:number", "identity:number"),
    "marks": ("name:text", "number:big"),
}
"""The key, then the rest: ``name:kind``, with "?" where it may be NULL."""

_WITH_ROWID: Final = {
    "balances", "line_items", "placements", "budget_limits", "offsets", "holders", "creatives",
}  # fmt: skip
_PARTITIONED: Final = {
    "events": "event_id",
    "filtered": "event_id",
    "entries": "event_id",
    "people": "event_id",
    "rollups": "quarter",
}
_FROM, _UNTIL = (18_262, 47_482)
"""Days since the epoch with partitions of their own: from 2020 on, before 2100."""
_POSITIVE: Final = ("entries", "amount_nanos")
_APPEND_ONLY: Final = (
    "events", "filtered", "reversals", "conversions", "entries", "statements", "statement_lines", "credits",
    "statement_credits",
)  # fmt: skip


def upgrade() -> None:
    for name, (key, rest) in _TABLES.items():
        options: dict[str, Any] = {} if name in _WITH_ROWID else {"sqlite_with_rowid": False}
        if name in _PARTITIONED:
            options["postgresql_partition_by"] = f"RANGE ({_PARTITIONED[name]})"
        checked = [_within_budget()] if name == "budgets" else []
        op.create_table(name, *_columns(name, key, True), *_columns(name, rest, False), *checked, **options)
    op.create_index("ix_conversions_touch", "conversions", ["touch"])
    if op.get_bind().dialect.name == "postgresql":
        _refuse_in_postgresql()
        _partition()
    else:
        _refuse_in_sqlite()


def _within_budget() -> sa.CheckConstraint:
    return sa.CheckConstraint("limit_nanos IS NULL OR billed_nanos <= limit_nanos", name="within_budget")


def _columns(table: str, told: str, key: bool) -> list[sa.Column[Any]]:
    pairs = [one.split(":") for one in told.split()]
    return [
        sa.Column(
            name,
            _KINDS[kind.removesuffix("?")],
            *([sa.CheckConstraint("amount_nanos > 0")] if (table, name) == _POSITIVE else []),
            primary_key=key,
            nullable=kind.endswith("?"),
            autoincrement=key and table == "budget_limits",
        )
        for name, kind in pairs
    ]


def _refuse_in_sqlite() -> None:
    for table in _APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _refuse_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; "
        "END $$"
    )
    for table in _APPEND_ONLY:
        for name, changes, each in (("row", "UPDATE OR DELETE", "ROW"), ("all", "TRUNCATE", "STATEMENT")):
            op.execute(
                f"CREATE TRIGGER append_only_{name} BEFORE {changes} ON {table} "
                f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
            )


def _partition() -> None:
    """What is before and behind the days that have partitions of their own."""
    for table, column in _PARTITIONED.items():
        first, end = (_bound(column, day) for day in (_FROM, _UNTIL))
        op.execute(
            f"CREATE TABLE {table}_before PARTITION OF {table} FOR VALUES FROM (MINVALUE) TO ({first})"
        )
        op.execute(f"CREATE TABLE {table}_behind PARTITION OF {table} FOR VALUES FROM ({end}) TO (MAXVALUE)")


def _bound(column: str, day: int) -> str:
    if column == "event_id":
        return f"'\\x{(day * 86_400_000).to_bytes(6, 'big').hex()}'"
    return str(day * 96)
