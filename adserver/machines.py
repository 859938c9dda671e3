"""A server's place among the machines that share a database (``ledger.machines``): its identity, which its
data folder keeps; its numbers; and what it hears of the others, about once a second."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from sqlalchemy.exc import DBAPIError

from adserver.catalog.opening import place_of as catalog_of
from adserver.catalog.secrets import create, load
from adserver.databases import Database, Unusable, reason
from adserver.domain import limits
from adserver.domain.workers import ALONE, Fleet, Peer, Worker
from adserver.ledger import journals
from adserver.ledger.machines import GivenUp, Machines, Taken
from adserver.ledger.place import place_of
from adserver.settings import Settings

FILE: Final = "machine"
"""Of a data folder: its identity."""
_AGAIN_S: Final = 0.2


class Enrolled(Struct):
    """``machine``: the identity; ``peers``: all there are, as last heard; none where it is the only one and
    its numbers are those of a folder that never shared anything."""

    machine: str = ""
    peers: tuple[Peer, ...] = ()
    machines: Machines | None = None

    def worker(self) -> Worker:
        """Of a server that is one process."""
        return worker_of(self.machine, self.peers, 0, 1) if self.peers else ALONE

    async def follow(self, tell: Callable[[tuple[Peer, ...]], None], away: Callable[[str], None]) -> None:
        """Show that it lives and hear of the others, until cancelled. ``away`` is told why that is not
        possible now. Raises Taken, GivenUp."""
        last = time.monotonic()
        while self.machines is not None:
            await asyncio.sleep(limits.MACHINE_BEAT_S)
            try:
                peers = tuple(await asyncio.to_thread(self.machines.beat))
            except Taken:
                # It may be our own former session, of which the database has not heard that it is over.
                if time.monotonic() > last + limits.MACHINE_DOUBLE_S:
                    raise
            except GivenUp:
                raise
            except (DBAPIError, Unusable) as error:
                away(reason(error))
                last = time.monotonic()
            else:
                last = time.monotonic()
                if self.peers and peers != self.peers:
                    self.peers = peers
                    tell(peers)


def worker_of(machine: str, peers: Sequence[Peer], place: int, of: int) -> Worker:
    """The one at this ``place`` of as many as ``of`` that serve here."""
    fleet = Fleet(machine, peers)
    return Worker(fleet.here[place], of, fleet)


@contextmanager
def enrolled(settings: Settings, doors: Sequence[str]) -> Iterator[Enrolled]:
    """``doors``: where others reach each process, "" where they do not. Where files are served from there is
    nobody else. Raises BadSecrets, Unusable, OSError, DBAPIError."""
    place = place_of(settings.data, settings.database)
    if not isinstance(place, Database):
        yield Enrolled()
        return
    # Whose folder is of other servers, or served from files, gets no number here.
    load(settings.data, catalog_of(settings.data, settings.database))
    machine = identity(settings.data)
    machines = Machines(place, machine)
    try:
        if settings.errands:
            _check_clock(machines)
        served = journals.written_in(settings.data)
        peers = _claimed(machines, served, doors, alone=not settings.errands)
        mine = [peer.number for peer in peers if peer.machine == machine]
        if not settings.errands and mine == list(range(len(mine))):
            peers = []
        elif settings.errands and not set(mine) <= set(served) and len(peers) > len(mine):
            # Nobody is to be told of an ad of a number that he has not heard of.
            time.sleep(limits.MACHINE_SETTLE_S)
        yield Enrolled(machine, tuple(peers), machines)
    finally:
        machines.close()


def _check_clock(machines: Machines) -> None:
    """Whoever is told of another's events judges them by its own. Raises Unusable."""
    ahead_ms = time.time_ns() // 1_000_000 - machines.now_ms()
    if abs(ahead_ms) > limits.CLOCK_APART_MS:
        where = f"{abs(ahead_ms) // 1000} s {'ahead of' if ahead_ms > 0 else 'behind'}"
        raise Unusable(
            f"this machine's clock is {where} the database's: machines that share one are no more than "
            f"{limits.CLOCK_APART_MS // 1000} s away from it (NTP)"
        )


def _claimed(machines: Machines, served: Sequence[int], doors: Sequence[str], alone: bool) -> list[Peer]:
    """Where the predecessor's session is not over yet, that is waited for."""
    until = time.monotonic() + limits.MACHINE_CLAIM_S
    while True:
        try:
            return machines.claim(served, doors, alone)
        except Taken:
            if time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)


def identity(data: Path) -> str:
    """Of a data folder, for good. Raises OSError, Unusable."""
    path = data / FILE
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        create(path, secrets.token_hex(8).encode() + b"\n")
    found = path.read_text(encoding="utf-8").strip()
    if len(found) != 16 or not found.isalnum():
        raise Unusable(f"{path} is damaged: it is the identity of this data folder")
    return found
