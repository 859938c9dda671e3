"""One connection to a Redis node, shared by all requests of an event loop.

What is asked in one turn of the loop leaves in one write, as one batch (6 to 11 us a command instead of 52 to
84: DESIGN, "Performance"). Nothing is tried twice here: a batch is answered whole within the deadline, or all
of it is ``Away`` and the connection is given up, for what comes late would be taken for the answer to
something else. The same may happen where a network loses a reply in between; so each batch ends with an echo
of its number, and nothing of it is believed before that came back. In front of the echo stands the
generation: if it is the one we know, nothing of this batch ran on a store that had lost its memory.

A batch that was given up may have run or not.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
from msgspec import Struct

from adserver.domain.admission import Away, Late
from adserver.state.shared.keys import Record

Word = bytes | str | int
BEING_MADE: Final = b"?"
"""Behind the name of a generation that is not in force yet."""
_PENDING: Final = False
"""What hiredis says where a reply is not whole."""


class _Batch(Struct, eq=False):
    number: bytes
    asked: list[asyncio.Future[Any]]
    deadline: asyncio.TimerHandle
    replies: list[Any]


class Wire(asyncio.Protocol):
    """``lost`` is called once, with why, when the connection is of no use any more. ``generation``: what is
    believed; "" while nothing is yet; ``in_doubt``: also while it is being made, which it was until now; it
    stands under ``record``."""

    def __init__(self, deadline_s: float, lost: Callable[[str], None]) -> None:
        self.generation = ""
        self.in_doubt = False
        self.record = Record()
        self.deadline_s = deadline_s
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._words: list[bytes] = []
        self._asked: list[asyncio.Future[Any]] = []
        self._batches: deque[_Batch] = deque()
        self._number = 0

    def ask(self, words: Sequence[Word]) -> "asyncio.Future[Any]":
        """The reply to a command; an error of Redis' own is a reply (``hiredis.ReplyError``). Raises Away."""
        asked: asyncio.Future[Any] = self._loop.create_future()
        if self._transport is None:
            _fail(asked, Away("not connected"))
            return asked
        if not self._asked:
            self._loop.call_soon(self._send)
        self._words.append(_packed(*words))
        self._asked.append(asked)
        return asked

    def close(self, why: str = "closed", as_: type[Away] = Away) -> None:
        """Give up all that waits."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        # Who has waited longest goes on first: then nobody waits for longer than the first of them.
        waiting = list[asyncio.Future[Any]]()
        for batch in self._batches:
            batch.deadline.cancel()
            waiting += batch.asked
        waiting += self._asked
        self._asked, self._words = [], []
        self._batches.clear()
        for asked in waiting:
            _fail(asked, as_(why))
        self._lost(why)

    # -- what the loop calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"the connection broke: {exc or 'closed by Redis'}")

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            self._take()
        except hiredis.HiredisError as error:
            self.close(f"not what Redis says: {error}")

    def _take(self) -> None:
        while self._transport is not None and (reply := self._reader.gets()) is not _PENDING:
            if not self._batches:
                self.close("an answer nobody asked for")
                return
            batch = self._batches[0]
            batch.replies.append(reply)
            if len(batch.replies) == len(batch.asked) + 2:
                self._batches.popleft()
                self._tell(batch)

    def _tell(self, batch: _Batch) -> None:
        batch.deadline.cancel()
        *replies, generation, echo = batch.replies
        if echo != batch.number:
            self._batches.appendleft(batch)
            # Whom it does not know it tells nothing, an echo neither.
            refused = isinstance(echo, hiredis.ReplyError)
            errors = (str(one) for one in batch.replies if isinstance(one, hiredis.ReplyError))
            self.close(next(errors) if refused else "an answer got lost")
            return
        if self.generation and not self._is_believed(generation):
            self._batches.appendleft(batch)
            refused = isinstance(generation, hiredis.ReplyError)
            self.close(str(generation) if refused else "it may have lost writes: another generation")
            return
        for asked, reply in zip(batch.asked, replies, strict=True):
            if not asked.done():
                asked.set_result(reply)

    def _is_believed(self, generation: object) -> bool:
        if generation == self.generation.encode():
            self.in_doubt = False
            return True
        return self.in_doubt and generation == self.generation.encode() + BEING_MADE

    def _send(self) -> None:
        if self._transport is None or not self._asked:
            return
        self._number += 1
        number = b"%d" % self._number
        asked, self._asked = self._asked, []
        words, self._words = self._words, []
        words.append(_packed(b"GET", self.record.generation))
        words.append(_packed(b"ECHO", number))
        deadline = self._loop.call_later(self.deadline_s, self.close, "no answer in time", Late)
        self._batches.append(_Batch(number, asked, deadline, []))
        self._transport.write(b"".join(words))


def _packed(*words: Word) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # it takes any number of them
    return packed


def _fail(asked: "asyncio.Future[Any]", error: Away) -> None:
    if not asked.done():
        asked.set_exception(error)
        # Whoever asked may be gone.
        asked.exception()
