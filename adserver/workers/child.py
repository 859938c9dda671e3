"""A worker's process: an app, its server, and its end of the line to the parent.

``python -m adserver.workers.child``, started by ``team``. Nothing of the data folder is touched before the
parent says ``Begin``, so a successor may have its program read while its predecessor still serves. The end of
the line, however it came, ends the process as SIGTERM does.
"""

import signal
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Protocol

from adserver.app import App
from adserver.domain.workers import Worker
from adserver.machines import worker_of
from adserver.serving import CannotServe, Served, config_of, end_gracefully, mendable, unfit
from adserver.telemetry import logs
from adserver.telemetry.families import Family, families
from adserver.workers.given import Given
from adserver.workers.handed import Handed
from adserver.workers.link import Link
from adserver.workers.messages import Begin, Loaded, Opened, Sum, Unfit, settings_of
from adserver.workers.server import WorkerServer
from adserver.workers.sums import Sums


class Composed(Protocol):
    """An app, and why it cannot serve."""

    @property
    def served(self) -> Served: ...
    def count(self) -> Iterable[Family]:
        """All numbers of this process."""
        ...

    def unfit(self) -> CannotServe | None: ...


def work(compose: Callable[[Given], Composed]) -> int:
    """Serve until told to end; the exit code. ``compose`` raises CannotServe."""
    link = Link()
    link.say(Loaded())
    begin = link.begun()
    if begin is None:
        return 0
    settings = settings_of(begin)
    logs.configure(settings.log_level, worker=begin.number)
    sums = Sums(lambda: link.say(Sum()))
    handed = Handed(settings.data, link)
    try:
        worker = _worker(begin)
        composed = compose(Given(worker, settings, handed, sums, begin.door))
        link.say(Opened())
        sockets = [socket.socket(fileno=descriptor) for descriptor in begin.sockets]
        config = config_of(composed.served, settings)
        server = WorkerServer(config, composed.served, link, handed, sums, sockets, composed.count, worker)
        _run(server, composed)
    except CannotServe as error:
        link.say(Unfit(str(error)))
        return 2
    return 0


def _worker(begin: Begin) -> Worker:
    """By its place on this machine, where others count too by the number it has among all."""
    if begin.peers:
        return worker_of(begin.machine, begin.peers, begin.number, begin.workers)
    return Worker(begin.number, begin.workers)


def _run(server: WorkerServer, composed: Composed) -> None:
    end_gracefully()
    try:
        server.run()
    except SystemExit:
        reason = composed.unfit()
        if reason is None:
            raise
        raise reason from None
    server.tell()


class Whole:
    """The server as it is."""

    def __init__(self, given: Given) -> None:
        with mendable(given.settings):
            self.served = App(given.settings, worker=given.worker, parent=given)

    def count(self) -> Iterable[Family]:
        return families(self.served.metrics.registry)

    def unfit(self) -> CannotServe | None:
        return unfit(self.served)


if __name__ == "__main__":
    # Who tells all processes at once tells the parent too, which ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(work(Whole))
