"""The parent: takes the sockets, has the campaign folder applied once, and leads the workers until it is told
to end (SIGTERM, SIGINT). SIGHUP renews them, one after the other. It decides nothing itself."""

import asyncio
import signal
from contextlib import ExitStack

import msgspec

from adserver.catalog import folder, secrets
from adserver.catalog.opening import place_of
from adserver.catalog.store import Store
from adserver.machines import enrolled
from adserver.services.pseudonyms import Pseudonyms
from adserver.serving import mendable
from adserver.settings import Settings
from adserver.telemetry import logs
from adserver.workers.ground import Ground
from adserver.workers.sockets import bound, doors
from adserver.workers.team import CHILD, Team


def serve(settings: Settings, module: str = CHILD) -> None:
    """Serve with as many workers as the settings say. Raises CannotServe."""
    logs.configure(settings.log_level)
    with ExitStack() as stack:
        sockets, settings = stack.enter_context(bound(settings, settings.workers))
        entrances, names = stack.enter_context(doors(settings, settings.workers))
        with mendable(settings):
            mine = stack.enter_context(enrolled(settings, names))
            catalogue = _applied(settings)
        settings = msgspec.structs.replace(settings, campaigns=None)
        asyncio.run(_lead(settings, Ground(sockets, entrances, mine), catalogue, module))


def _applied(settings: Settings) -> tuple[int, str]:
    """(revision, digest) of the catalogue, with the folder of campaigns in it."""
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = place_of(settings.data, settings.database)
    names = Pseudonyms(secrets.load(settings.data, place).pseudonym)
    store = Store(place, names.person, lambda kind, full_id: False)
    try:
        if settings.campaigns is not None:
            store.apply(folder.read_folder(settings.campaigns))
        return store.content()
    finally:
        store.close()


async def _lead(settings: Settings, ground: Ground, catalogue: tuple[int, str], module: str) -> None:
    team = Team(settings, ground, catalogue, module)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, team.end)
    loop.add_signal_handler(signal.SIGHUP, team.renew)
    await team.serve()
