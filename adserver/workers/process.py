"""A worker's process, as the parent has it."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from asyncio.subprocess import Process as Subprocess
from collections.abc import Sequence
from contextlib import suppress

from adserver.workers.messages import LINE_BYTES, ToParent, ToWorker, line, to_parent


class Process:
    """Started by ``started``."""

    def __init__(self, process: Subprocess) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._in, self._out = process.stdin, process.stdout
        self._gone = asyncio.ensure_future(process.wait())

    @classmethod
    async def started(cls, module: str, descriptors: Sequence[int]) -> "Process":
        """``python -m <module>``, which inherits these."""
        command = (sys.executable, "-m", module)
        return cls(
            await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, pass_fds=descriptors, limit=LINE_BYTES
            )
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, message: ToWorker) -> None:
        if not self._in.is_closing():
            self._in.write(line(message))

    async def heard(self) -> ToParent | None:
        """The next it says; None once it is gone."""
        try:
            said = await self._out.readline()
        except ValueError:
            # Longer than a line may be: it is out of its mind.
            self.kill()
            return None
        # What it was killed in the midst of saying is not said.
        return to_parent(said) if said.endswith(b"\n") else None

    async def gone(self) -> int:
        """Its exit code, once it has ended."""
        return await self._gone

    def ask_to_end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
