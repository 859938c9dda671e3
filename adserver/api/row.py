"""Hot requests judged in a row.

What the loop received in one turn is parsed first, all of it; then one request is judged after the other, and
only then are the answers written. Code that runs again and again finds itself in the processor's caches, out
of which parsing and the kernel's network would drive it in between; the events of a row share a sync; and a
client that the first answer woke need not be woken for the others. Rows are bounded, so that no answer waits
for more than some others.
"""

import asyncio
from functools import partial
from typing import Any, Protocol

from adserver.api.messages import Making, Reply, made
from adserver.api.pages import Guard
from adserver.api.telling import Telling
from adserver.api.turn import Turn, answered
from adserver.domain import limits
from adserver.services.elsewhere import Elsewhere
from adserver.services.ports import Durable


class Line(Protocol):
    """A connection."""

    ended: bool

    def settle(self, turn: Turn, reply: Reply) -> None:
        """Nothing is waited for any more: the answer leaves."""
        ...

    def bring(self, turn: Turn, missing: Elsewhere) -> None:
        """It is answered once this is here: in a task."""
        ...


Asked = tuple[Line, Turn]

Answer = tuple[Reply | Making, Durable]
"""What it says (or what makes that), and what it is to wait for."""

Owed = tuple[Asked, Answer]


class Row:
    """Of one server, on one loop. ``telling`` judges what was told plainly, where anything can be."""

    def __init__(self, guard: Guard, telling: Telling | None = None) -> None:
        self._guard = guard
        self.telling = telling
        self._waiting: list[Asked] = []

    def join(self, line: Line, turn: Turn, loop: asyncio.AbstractEventLoop) -> None:
        """Behind all that was received in this turn of the loop. ``turn``: of a route without a task."""
        if not self._waiting:
            loop.call_soon(self._judge, loop)
        self._waiting.append((line, turn))

    def _judge(self, loop: asyncio.AbstractEventLoop) -> None:
        row, self._waiting = self._waiting[: limits.JUDGED_IN_A_ROW], self._waiting[limits.JUDGED_IN_A_ROW :]
        if self._waiting:
            loop.call_soon(self._judge, loop)
        together, last = list[Owed](), None
        for owed in self._answered(row):
            asked, (reply, durable) = owed
            if durable is None:
                self._settle(*asked, reply)
            elif durable is last:
                together.append(owed)
            else:
                # Nearly always all of a row wait for one sync; then one call tells them all.
                together, last = [owed], durable
                durable.add_done_callback(partial(self._settle_all, together))

    def _answered(self, row: list[Asked]) -> list[Owed]:
        """In order; what was told plainly one behind the other, together."""
        told, answers = list[Asked](), list[Owed]()
        for asked in row:
            if asked[1].told is not None:
                told.append(asked)
                continue
            answers += self._told(told)
            told = []
            if _matters(*asked):
                try:
                    answers.append((asked, answered(asked[1], self._guard)))
                except Elsewhere as missing:
                    asked[0].bring(asked[1], missing)
        return answers + self._told(told)

    def _told(self, told: list[Asked]) -> list[Owed]:
        if not told or self.telling is None:
            return []
        return list(zip(told, self.telling.answered([turn for _, turn in told]), strict=True))

    def _settle_all(self, owed: list[Owed], _: Any) -> None:
        # Not by ``_settle``: a call costs as much as what it guards.
        for (line, turn), answer in owed:
            try:
                reply = answer[0]
                line.settle(turn, reply if isinstance(reply, Reply) else reply())
            except Exception as error:
                self._guard.failed("a connection failed", error)

    def _settle(self, line: Line, turn: Turn, reply: Reply | Making) -> None:
        try:
            line.settle(turn, made(reply))
        # What goes wrong on one connection is not the others' in this row.
        except Exception as error:
            self._guard.failed("a connection failed", error)


def _matters(line: Line, turn: Turn) -> bool:
    """Whoever asked may be gone. What they told us counts; what they asked for is nobody's."""
    assert turn.route is not None
    return not line.ended or turn.route.soon is not None
