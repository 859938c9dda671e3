"""Connections to PostgreSQL that do not wait for ever.

A server that is stopped in the midst of its work acknowledges every packet and says nothing: neither
keepalives nor timeouts of TCP notice, and its own ``statement_timeout`` is as stopped as it is. So the client
has a bound on silence too, somewhat behind the server's on statements: one that lives has given up by then.
"""

from collections.abc import Generator
from time import monotonic
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen

_T = TypeVar("_T")


class Silent(psycopg.OperationalError):
    """Nothing was heard for too long."""


class Patient(psycopg.Connection[Any]):
    """``patience_s``: for how long a server may be silent that was asked something; None: for ever."""

    patience_s: float | None = None

    @classmethod
    def connected(cls, patience_s: float, *arguments: Any, **terms: Any) -> Self:
        connection = cls.connect(*arguments, **terms)
        connection.patience_s = patience_s
        return connection

    def wait(self, gen: PQGen[_T], *arguments: Any, **more: Any) -> _T:
        """Raises Silent; then the connection is closed: what it would say next is the answer to something
        else."""
        if self.patience_s is None:
            return super().wait(gen, *arguments, **more)
        try:
            return super().wait(_heard(gen, self.patience_s), *arguments, **more)
        except Silent:
            self.pgconn.finish()
            raise


def _heard(gen: PQGen[_T], seconds: float) -> Generator[Any, Any, _T]:
    """``gen``, which psycopg wakes some ten times a second, as long as something comes or can be sent."""
    heard_s = monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                heard_s = monotonic()
            elif monotonic() - heard_s > seconds:
                raise Silent(f"it said nothing for {seconds:.0f} s")
            wanted = gen.send(ready)
    except StopIteration as ended:
        value: _T = ended.value
        return value
