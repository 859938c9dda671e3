"""The numbers of all workers, for who asks one of them."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from adserver.telemetry.families import Family, exposition

PATIENCE_S: Final = 5.0


class Sums:
    """``ask``: has the parent add them up and tell us."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._asked: asyncio.Future[tuple[Family, ...]] | None = None
        self._over = False

    async def exposition(self) -> bytes:
        """As Prometheus reads them; who asks while another does is told the same. Raises TimeoutError."""
        if self._over:
            raise TimeoutError
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            self._ask()
        asked = self._asked
        try:
            return exposition(await asyncio.wait_for(asyncio.shield(asked), PATIENCE_S))
        except TimeoutError:
            if self._asked is asked:
                self._asked = None
            raise

    def take(self, families: Iterable[Family]) -> None:
        """The parent says so."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.set_result(tuple(families))

    def give_up(self) -> None:
        """The parent is gone: who asks is told nothing, and need not wait for it."""
        asked, self._asked, self._over = self._asked, None, True
        if asked is not None:
            asked.set_exception(TimeoutError)
