"""A child process that is kept: started before its first line is waited for, started again when it dies,
gone when the server is.

Between the two ends lie lines of text, the child's standard input and output. It may die of anything; the
next one starts after a pause that grows as long as none does any work. It cannot outlive the server, whose
end closes its standard input: a child ends as soon as it reads that.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Final

_PAUSE_S: Final = 0.5


class Died(Exception):
    """The child ended by itself; the message is for the operator."""


class Child:
    """``python -m <module>``, with what ``arguments`` gives at each start; ``pause_max_s``: how long the
    pause before one may grow; ``told``: more for its environment, which nobody else sees."""

    def __init__(
        self, module: str, arguments: Callable[[], Sequence[str]], pause_max_s: float,
        told: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._module = module
        self._arguments = arguments
        self._told = told
        self._process: Process | None = None
        self._pause_max_s = pause_max_s
        self._pause_s = 0.0
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """None while there is none."""
        return None if self._process is None else self._process.pid

    async def begin(self) -> None:
        """Start it now: the loop stands still until a process has begun, which may take a while on a busy
        machine."""
        await self._running()

    async def heard(self) -> bytes | None:
        """The next line the child says, started if there is none; None once it was ended. Raises Died, once
        for each that did, behind all that it said: none is replaced before that."""
        process = await self._running()
        if process is None or process.stdout is None:
            return None
        line = await process.stdout.readline()
        if self._ended.is_set():
            return None
        if not line:
            code = await process.wait()
            self._process = None
            raise Died(f"ended with {code}")
        return line

    def say(self, line: bytes) -> None:
        """To the child that runs; one that is started later does not hear it."""
        stdin = None if self._process is None else self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(line)

    def worked(self) -> None:
        """It did what it is for: should it die, the next one need not wait."""
        self._pause_s = 0.0

    def kill(self) -> None:
        """Whatever it is doing; another is started in its place."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def give_up(self) -> None:
        """End it for good, whatever it is doing; who waits for a line waits no more."""
        self._ended.set()
        self.kill()

    async def end(self) -> None:
        """The same, and it is gone."""
        self.give_up()
        if self._process is not None:
            await self._process.wait()

    async def _running(self) -> Process | None:
        """The child, started if there is none; None once it was ended."""
        if self._process is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), self._pause_s)
            if self._ended.is_set():
                return None
            self._pause_s = min(max(2 * self._pause_s, _PAUSE_S), self._pause_max_s)
            command = (sys.executable, "-m", self._module, *self._arguments())
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, env={**os.environ, **self._told}
            )
            if self._ended.is_set():
                await self.end()
                return None
        return self._process
