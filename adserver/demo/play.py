"""``adserver demo``: a server on the sample world, traffic to drive it, numbers on the terminal, an audit.

Two processes: the server in one, in a temporary folder, on a socket that is opened here first (so a port in
use is one clear line); the traffic in this one. Whatever ends it (Ctrl-C, SIGTERM, the seconds asked for,
the server's death), the server is stopped, the audit is made, the folder is removed.
"""

import asyncio
import errno
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

from rich.console import Console

from adserver.demo import exchange, world
from adserver.demo.audit import audit, print_verdicts
from adserver.demo.client import Client, Lost
from adserver.demo.score import Score
from adserver.demo.shown import Screen
from adserver.demo.traffic import RATE, Traffic
from adserver.options import Wrong

HOST: Final = "127.0.0.1"
SEED: Final = 20260601
_READY_S: Final = 30
_STOP_S: Final = 20
_TICK_S: Final = 0.1
_TOLD: Final = 3
_WIDTH: Final = 600


class Ended(Exception):
    """The server ended by itself."""


def run(seconds: float | None, port: int, rate: float = RATE) -> int:
    """Run until stopped, or for ``seconds``; 0 if everything served was within the laws, 1 if not.
    Raises Wrong for what cannot be done at all."""
    console = Console(highlight=False)
    with _asked_to_stop() as stop, closing(_listen(port)) as listening:
        try:
            requests = exchange.read(exchange.find())
            with tempfile.TemporaryDirectory(prefix="adserver-demo-") as folder:
                sample = world.make(world.find(), Path(folder) / "data")
                demo = _Demo(console, Path(folder), sample, listening, stop)
                return demo.run(requests, seconds, rate)
        except (world.NoWorld, exchange.NoRequests) as error:
            raise Wrong(str(error)) from error


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port), backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Wrong(f"port {port} is in use: choose another one with --port") from error
        raise Wrong(f"port {port} cannot be used: {error.strerror}") from error


class _Demo:
    def __init__(
        self, console: Console, folder: Path, sample: world.World, listening: socket.socket, stop: "Stop"
    ) -> None:
        self._stop = stop
        self._console, self._folder, self._sample, self._listening = console, folder, sample, listening
        self._port = listening.getsockname()[1]
        self._log = folder / "server.log"
        self._score = Score(sample.catalogue)

    def run(self, requests: list[dict[str, object]], seconds: float | None, rate: float) -> int:
        with self._serving() as server:
            try:
                asyncio.run(self._drive(server, requests, seconds, rate))
            except Ended as ended:
                self._say(f"the server ended by itself ({ended})")
                self._score.failures["the server ended by itself"] += 1
            code = _stop(server)
            if code != 0:
                self._score.failures[f"the server's exit code was {code}"] += 1
            return self._finish()

    def _finish(self) -> int:
        self._tell_log()
        self._say(
            "\nAudit of everything that was served, from journal and ledger, and from the answers alone:"
        )
        fine = print_verdicts(audit(self._folder / "data", self._score), self._say)
        self._say("the audit is clean" if fine else "the audit found differences")
        return 0 if fine else 1

    # -- the server --------------------------------------------------------------------------------

    @contextmanager
    def _serving(self) -> Iterator[subprocess.Popen[bytes]]:
        number = self._listening.fileno()
        command = [
            sys.executable, "-m", "adserver.demo", "--folder", str(self._folder),
            "--data", str(self._folder / "data"), "--campaigns", str(self._sample.campaigns),
            "--socket", str(number),
        ]  # fmt: skip
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for us, who stop it in good order.
            server = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[number],
                start_new_session=True,
            )
        self._listening.close()
        try:
            yield server
        finally:
            if server.poll() is None:
                server.kill()
            server.wait()
            if server.stdin is not None:
                server.stdin.close()

    def _tell_log(self) -> None:
        """What the server complained about. An error in its log is one of the demo's."""
        lines = self._log.read_text("utf-8", "replace").splitlines()
        errors = sum('"level": "error"' in line for line in lines)
        if errors:
            self._score.failures["error in the server's log"] += errors
        for line in lines[-_TOLD:]:
            self._say(f"server: {line[:_WIDTH]}")

    # -- the traffic -------------------------------------------------------------------------------

    async def _drive(
        self, server: subprocess.Popen[bytes], requests: list[dict[str, object]], seconds: float | None,
        rate: float,
    ) -> None:  # fmt: skip
        client = Client(HOST, self._port, key=self._sample.key)
        traffic = Traffic(client, self._score, requests, Random(SEED), rate)
        url = f"http://{HOST}:{self._port}/demo"
        await self._ready(client, server)
        if self._stop.asked:
            client.close()
            return
        self._say(f"A feed to look at: {url}   (everything on this machine only; Ctrl-C ends it)")
        driving = asyncio.create_task(traffic.run())
        try:
            with Screen(self._console, url, self._score, traffic) as screen:
                await self._until(driving, server, seconds, screen)
                driving.cancel()
                with suppress(asyncio.CancelledError):
                    await driving
                await traffic.look()
                screen.update()
        finally:
            driving.cancel()
            client.close()

    async def _ready(self, client: Client, server: subprocess.Popen[bytes]) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_S
        while not self._stop.asked:
            if server.poll() is not None:
                raise Ended(f"exit code {server.poll()}")
            with suppress(Lost):
                if (await client.ask("GET", "/readyz")).status == 200:
                    return
            if asyncio.get_running_loop().time() > deadline:
                raise Ended(f"it was not ready within {_READY_S} s")
            await asyncio.sleep(0.05)

    async def _until(
        self, driving: "asyncio.Task[None]", server: subprocess.Popen[bytes], seconds: float | None,
        screen: Screen,
    ) -> None:  # fmt: skip
        now_s = asyncio.get_running_loop().time
        end_s = None if seconds is None else now_s() + seconds
        while not self._stop.asked and (end_s is None or now_s() < end_s):
            if server.poll() is not None:
                raise Ended(f"exit code {server.poll()}")
            if driving.done():
                driving.result()
            screen.update()
            # Short, for a signal does not end a sleep.
            await asyncio.sleep(_TICK_S)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


def _stop(server: subprocess.Popen[bytes]) -> int:
    """Ask the server to end in good order; its exit code."""
    assert server.stdin is not None
    with suppress(OSError):
        server.stdin.write(world.STOP)
        server.stdin.close()
    try:
        return server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


class Stop:
    """Set by the first signal; the second interrupts whatever is still going on."""

    def __init__(self) -> None:
        self.asked = False

    def take(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def _asked_to_stop() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM are requests, not accidents."""
    stop = Stop()
    before = {number: signal.signal(number, stop.take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
