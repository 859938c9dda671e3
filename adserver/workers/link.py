"""A worker's end of the line to its parent.

Its standard input and output are put away, and nothing that is printed or read by chance comes between.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from io import FileIO
from typing import Final

from adserver.workers.messages import LINE_BYTES, Begin, ToParent, ToWorker, line, to_worker

_IN: Final = 0
_OUT: Final = 1
_ERRORS: Final = 2


class Link:
    """Of this process, once."""

    def __init__(self) -> None:
        self._in = FileIO(os.dup(_IN))
        self._out = os.dup(_OUT)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, _IN)
        os.close(nothing)
        os.dup2(_ERRORS, _OUT)

    def say(self, message: ToParent) -> None:
        """It leaves at once: the parent has nothing to do but to hear. One that is gone hears nothing; that
        it is, ``heard`` finds out."""
        left = memoryview(line(message))
        with suppress(BrokenPipeError):
            while left:
                left = left[os.write(self._out, left) :]

    def begun(self) -> Begin | None:
        """The first line, waited for; None where there is no parent any more."""
        first = self._in.readline()
        message = to_worker(first) if first else None
        assert message is None or isinstance(message, Begin)
        return message

    async def heard(self) -> AsyncIterator[ToWorker]:
        """What follows, until the parent is gone."""
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._in)
        async for one in reader:
            if one.endswith(b"\n"):
                yield to_worker(one)
