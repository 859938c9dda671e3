"""The trial balance, for operators: of what is posted."""

import asyncio
from typing import Protocol

from adserver.clock import Clock
from adserver.domain import limits
from adserver.domain.accounts import Account, Movement, named
from adserver.services.manage import Who
from adserver.services.refusals import Refused


class Books(Protocol):
    """Blocking: called from a thread. Raises TimeoutError after ``limits.REPORT_S``."""

    def accounts(self, now_ms: int) -> list[Account]: ...
    def movements(self, name: str, most: int) -> list[Movement]: ...


class Accounting:
    """The use case. One at a time is read, so that whoever asks often waits and nobody else does."""

    def __init__(self, books: Books, clock: Clock) -> None:
        self._books = books
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def balance(self, who: Who) -> list[Account]:
        """Every account. Raises Refused: 403, and 503 for what takes too long."""
        if who.role != "operator":
            raise Refused(403, "accounts are read by operators")
        async with self._one_at_a_time:
            try:
                return await asyncio.to_thread(self._books.accounts, self._clock())
            except TimeoutError:
                raise _late() from None

    async def account(self, who: Who, name: str, most: int) -> tuple[Account, list[Movement]]:
        """One, by its name or title, and the last that moved it. Raises Refused: 404 too."""
        account = named(await self.balance(who), name)
        if account is None:
            raise Refused(404, "nothing ever moved an account of this name")
        async with self._one_at_a_time:
            try:
                return account, await asyncio.to_thread(self._books.movements, account.name, most)
            except TimeoutError:
                raise _late() from None


def _late() -> Refused:
    return Refused(503, f"the accounts took more than {limits.REPORT_S:.0f} s: ask `adserver accounts`")
