"""Columns of the ledger's tables, and those that a ledger of an earlier version lacks."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, String, inspect
from sqlalchemy.types import TypeEngine


def words(length: int | None = None) -> TypeEngine[str]:
    """Text whose order and equality are its bytes', as SQLite's are: ids are found by ranges of them."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


NUMBER: Final = Integer().with_variant(BigInteger, "postgresql")
"""A serial or a day; SQLite's integers are as long as need be."""


def keys(*names: str) -> list[Column[Any]]:
    """Serials and days that a row is known by."""
    return [Column(name, NUMBER, primary_key=True) for name in names]


def numbers(*names: str) -> list[Column[Any]]:
    """What is counted, and instants and amounts."""
    return [Column(name, BigInteger, nullable=False) for name in names]


def has_column(connection: Connection, table: str, column: str) -> bool:
    return column in {found["name"] for found in inspect(connection).get_columns(table)}


def add_columns(connection: Connection, columns: Iterable[tuple[str, str, str]]) -> None:
    """(table, column, what it is in SQL, with what was so before it was there)."""
    inspector = inspect(connection)
    for table, column, kind in columns:
        if inspector.has_table(table) and not has_column(connection, table, column):
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
