"""``adserver simulate``: the world from its configuration, the run, and the audit of its journal."""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from msgspec import Struct
from sqlalchemy import select

from adserver.app import App
from adserver.clock import Clock
from adserver.domain.books import LineItemTotals, totals_of
from adserver.domain.campaign import Campaign, LineItem
from adserver.domain.catalogue import Catalogue
from adserver.ledger import schema
from adserver.ledger.dialects import read_database
from adserver.ledger.place import LEDGER
from adserver.ledger.verify import verify
from adserver.settings import Settings
from adserver.simulation import generated
from adserver.simulation.clock import StandingClock
from adserver.simulation.config import Config, check_views
from adserver.simulation.play import Play

_DATA: Final = "data"


class Found(Struct, frozen=True):
    """``items``: serial -> its campaign and itself; ``days``: (line item, day) -> what the ledger counted
    (day -1: in all); ``audit``: what the journal's audit said, ``differences``: what it found wrong;
    ``seconds``: what the run took, without the audit."""

    config: Config
    play: Play
    items: dict[int, tuple[Campaign, LineItem]]
    days: dict[tuple[int, int], LineItemTotals]
    audit: tuple[str, ...]
    differences: tuple[str, ...]
    seconds: float

    @property
    def offences(self) -> list[str]:
        told = [f"law {law}: {line}" for law, lines in self.play.offences.items() for line in lines]
        return [*told, *self.differences]


def simulate(config: Config, say: Callable[[str], None]) -> Found:
    """Everything in a temporary folder. ``say`` hears how far it is. Raises Invalid for campaigns that are
    wrong or views of placements that are not there."""
    with TemporaryDirectory(prefix="adserver-simulation-") as name:
        return _run(config, Path(name), say)


def open_server(config: Config, folder: Path, clock: Clock) -> App:
    """The server with its catalogue, built, in an empty folder. Raises Invalid."""
    campaigns = config.campaigns or folder / "campaigns"
    if config.generated is not None:
        generated.write(config, config.generated, campaigns)
    settings = Settings(campaigns=campaigns, data=folder / _DATA, public_url="https://ads.example")
    app = App(settings, clock=clock, chance=_Chance(config.seed))
    try:
        check_views(config, _surfaces(app.store.load()))
        app.build()
    except BaseException:
        app.close()
        raise
    return app


def _run(config: Config, folder: Path, say: Callable[[str], None]) -> Found:
    clock = StandingClock(config.start_ms)
    app = open_server(config, folder, clock)
    try:
        catalogue = app.store.load()
        play = Play(config, app, clock, catalogue)
        began = perf_counter()
        asyncio.run(_played(play))
        seconds = perf_counter() - began
    finally:
        app.close()
    say(f"{play.decisions:,} decisions and {play.events:,} events in {seconds:.0f} s; now the audit")
    audit: list[str] = []
    differences = verify(app.settings.data, audit.append)
    items = {
        item.serial: (campaign, item) for campaign in catalogue.campaigns for item in campaign.line_items
    }
    days = _totals(app.settings.data / LEDGER)
    return Found(config, play, items, days, tuple(audit), tuple(differences), seconds)


async def _played(play: Play) -> None:
    # As ``App.start`` has it: what is loaded stays, and what decisions leave ends by its reference counts.
    gc.collect()
    gc.freeze()
    try:
        await play.run()
    finally:
        gc.unfreeze()


class _Chance:
    """The server's seeds, from the run's."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def __call__(self) -> int:
        return self._random.getrandbits(64)


def _surfaces(catalogue: Catalogue) -> dict[str, str]:
    return {
        placement.full_id: placement.surface
        for publisher in catalogue.publishers
        for placement in publisher.placements
    }


def _totals(path: Path) -> dict[tuple[int, int], LineItemTotals]:
    engine = read_database(path)
    try:
        with engine.connect() as connection:
            rows = connection.execute(select(schema.TOTALS)).all()
    finally:
        engine.dispose()
    return {(row[0], row[1]): totals_of(row[0], row[2:]) for row in rows}
