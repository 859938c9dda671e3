"""Several workers on one data directory inside the test's process: each is a whole server (``world``) with a
journal, leases and seeds of its own; time is the test's, and so is when each does what goes on beside it.
"""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from world import NOON_MS, Document, Ticks, World

from adserver import recovery
from adserver.app import App
from adserver.databases import Database
from adserver.domain import ids
from adserver.domain.workers import Worker
from adserver.ledger.place import SCHEMA
from adserver.ledger.verify import verify


class Member(World):
    """One of them. Its chance is that of a server."""

    def __init__(self, folder: Path, worker: Worker, clock: Ticks, url: str = "") -> None:
        self.folder, self.clock, self.worker, self.url = folder, clock, worker, url
        (folder / "campaigns").mkdir(parents=True, exist_ok=True)
        self.app = self._open()

    def _open(self) -> App:
        settings = msgspec.structs.replace(self.settings, data=self.folder / "data", database=self.url)
        app = App(settings, clock=self.clock, worker=self.worker)
        app.build()
        return app

    def leave(self) -> None:
        """A clean end."""
        self.tick()
        if self.app.lessee is not None:
            self.app.lessee.leave(self.clock())
        recovery.save(
            self.app.settings.data, self.app.states.hot, self.app.journal.position, self.worker.number
        )
        self.app.close()


class Crew:
    """``url``: of their database, if they have one."""

    def __init__(
        self, folder: Path, of: int, now_ms: int = NOON_MS, url: str = "", **documents: Iterable[Document]
    ) -> None:
        self.folder, self.clock, self.url = folder, Ticks(now_ms), url
        self.members = [Member(folder, Worker(number, of), self.clock, url) for number in range(of)]
        if documents:
            self.put(**documents)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            member.app.close()

    def put(self, **documents: Iterable[Document]) -> None:
        """Live in all of them."""
        first, *others = self.members
        first.put(**documents)
        for other in others:
            other.app.build()

    def tick(self, turns: int = 1) -> None:
        for _ in range(turns):
            for member in self.members:
                member.tick()

    def home(self, ad: Any) -> Member:
        """Whoever decided an ad."""
        return self.members[ids.owner_of(ids.decode(ad["event_id"]))]

    def leave(self) -> None:
        for member in self.members:
            member.leave()

    def verified(self) -> list[str]:
        """What an audit of all journals finds wrong."""
        place = Database(self.url, SCHEMA) if self.url else None
        return verify(self.folder / "data", lambda _: None, place)
