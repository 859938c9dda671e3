"""The demo's server, a process of its own: so the driver's figures are those of a client, not of a guest.

``python -m adserver.demo``: started by ``play``, which hands over the listening socket and, by
closing our standard input, says that it is over; so does its sudden death, and nothing is left behind.
"""

import argparse
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Final

import uvicorn

from adserver.app import App
from adserver.demo import pages
from adserver.demo.tally import Tally
from adserver.demo.why import Reasons
from adserver.services.serve import Outcome
from adserver.serving import server_of
from adserver.settings import Settings
from adserver.telemetry import logs

SEGMENT_BYTES: Final = 8 * 1024 * 1024


class DemoApp(App):
    """The server as it is, with pages beside it and an eye on every outcome."""

    def __init__(self, settings: Settings, campaigns: Path) -> None:
        self.tally = Tally()
        self.reasons = Reasons()
        super().__init__(settings, extra=pages.routes(self, campaigns))

    def _served(self, outcome: Outcome) -> None:
        super()._served(outcome)
        self.tally.take(outcome)
        self.reasons.take(outcome)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="adserver.demo")
    parser.add_argument("--folder", type=Path, required=True, help="removed when the demo dies suddenly")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--campaigns", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True, help="an inherited listening socket")
    asked = parser.parse_args(arguments)
    # Ctrl-C is the driver's business: it stops us when it has stopped asking.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure("warning")
    with socket.socket(fileno=asked.socket) as listening:
        # A few of the crowd read far more than people do, so that caps are met: nobody is too fast here.
        settings = Settings(
            data=asked.data,
            port=listening.getsockname()[1],
            segment_bytes=SEGMENT_BYTES,
            rate_per_user=(0, 0),
        )
        server = server_of(DemoApp(settings, asked.campaigns), settings)
        said: list[bytes] = []
        Thread(target=_wait_for_end, args=(server, said), daemon=True).start()
        server.run(sockets=[listening])
    if said == [b""]:
        shutil.rmtree(asked.folder, ignore_errors=True)


def _wait_for_end(server: uvicorn.Server, said: list[bytes]) -> None:
    said.append(sys.stdin.buffer.read())
    server.should_exit = True
