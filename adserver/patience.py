"""Connections to PostgreSQL that do not wait for ever.

A server that is stopped in the midst of its work acknowledges every packet and says nothing: neither
keepalives nor timeouts of TCP notice, and its own ``statement_timeout`` is as stopped as it is. So the client
has a deadline for each statement too, somewhat behind the server's: one that lives has given up by then.
"""

from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen

_T = TypeVar("_T")


class Patient(psycopg.Connection[Any]):
    """``patience_s``: how long any answer is waited for; None: for ever."""

    patience_s: float | None = None

    @classmethod
    def connected(cls, patience_s: float, *arguments: Any, **terms: Any) -> Self:
        connection = cls.connect(*arguments, **terms)
        connection.patience_s = patience_s
        return connection

    def wait(self, gen: PQGen[_T], *arguments: Any, **more: Any) -> _T:
        """Raises OperationalError once it took too long; then the connection is closed: what it would say
        next is the answer to something else."""
        more.setdefault("timeout", self.patience_s)
        try:
            return super().wait(gen, *arguments, **more)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"it said nothing for {self.patience_s:.0f} s") from None
