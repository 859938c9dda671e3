"""Publish campaigns: when the catalog moved, compile a snapshot and swap it in.

Compiling happens in a thread; the swap itself is a few assignments on the event loop, preceded by the
journal records of what the new snapshot promises. A catalogue that cannot be compiled leaves the last
good snapshot in service, is logged, and moves a metric.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from adserver.clock import Clock
from adserver.domain.books import JournalClosed
from adserver.domain.records import LineItemTerms, PlacementTerms
from adserver.engine.compile import compile_snapshot
from adserver.engine.snapshot import Snapshot
from adserver.services.ports import Catalog, Journal
from adserver.services.terms import line_item_terms, placement_terms
from adserver.services.world import World


class Limits(Protocol):
    def bind(self, terms: Iterable[LineItemTerms]) -> None: ...


class Publishing:
    """``failed`` is told of every snapshot that could not be built."""

    def __init__(
        self,
        catalog: Catalog,
        world: World,
        journal: Journal,
        limits: Limits,
        clock: Clock,
        failed: Callable[[Exception], None],
    ) -> None:
        self._catalog = catalog
        self._world = world
        self._journal = journal
        self._limits = limits
        self._clock = clock
        self._failed = failed
        self._lock = asyncio.Lock()
        self._tried = -1
        self._terms: list[LineItemTerms | PlacementTerms] = []
        self._promised: dict[tuple[str, int], LineItemTerms | PlacementTerms] = {}
        self.live_since_ms = 0

    async def follow(self) -> bool:
        """Take up the newest revision if it is not the one in service; whether it changed."""
        async with self._lock:
            if not self._world.serving.promised:
                self._world.serving.promised = self._promise()
            revision = await asyncio.to_thread(self._catalog.revision)
            if revision == self._tried:
                return False
            self._tried = revision
            try:
                snapshot = await asyncio.to_thread(self._build)
            # Whatever the catalogue holds, the server goes on with what it has.
            except Exception as error:
                self._failed(error)
                return False
            self.put_live(snapshot)
            return True

    def start(self) -> None:
        """The first snapshot, before anything is served. Raises what building raises."""
        self._tried = self._catalog.revision()
        self.put_live(self._build())

    def _build(self) -> Snapshot:
        snapshot = compile_snapshot(self._catalog.load())
        self._world.prepare(snapshot)
        return snapshot

    def put_live(self, snapshot: Snapshot) -> None:
        """Journal what is promised from now on, bind the budgets, swap. A full journal changes nothing of
        the swap: nothing is sold while it is closed, nor when it opens before the terms followed."""
        now_ms = self._clock()
        terms = list(line_item_terms(snapshot, now_ms))
        self._terms = [*terms, *placement_terms(snapshot, now_ms)]
        promised = self._promise()
        self._limits.bind(terms)
        self._world.swap(snapshot, promised)
        self.live_since_ms = now_ms

    def _promise(self) -> bool:
        """Only what changed since it was last journalled by this process; whether all of it is there. What
        the journal keeps in reserve is left to the events of what was sold."""
        for terms in self._terms:
            key = (type(terms).__name__, terms.serial)
            content = msgspec.structs.replace(terms, at_ms=0, revision=0)
            if self._promised.get(key) != content:
                if not self._journal.open:
                    return False
                try:
                    self._journal.append(terms)
                except JournalClosed:
                    return False
                self._promised[key] = content
        return True
