"""What serving asks of catalog and ledger at once, as an app composes it: of files beside it, those
themselves; of a database, what is known of it here (``services.elsewhere``, ``catalog.keys.KnownKeys``)."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from adserver.catalog.keys import Key, KnownKeys
from adserver.domain.changes import Unread
from adserver.domain.decision import EventKind
from adserver.domain.told import Told
from adserver.services.elsewhere import Foreknown, nothing_is_elsewhere
from adserver.services.ports import Ledger
from adserver.services.render import FindSold
from adserver.services.sold import SoldFinder
from adserver.tokens import Token

if TYPE_CHECKING:
    from adserver.app import App

FOLLOW_S: Final = 1.0


class Near(Struct, frozen=True):
    """``sold``: the creative of a serial; ``check``: of an event, before it is judged; ``is_here``: whether
    an impression asks nothing elsewhere, ``is_prompt``: whether an event would not at its home, wherever
    that is; ``read``: a plain impression that asks nothing elsewhere; ``follow`` keeps it up to date, every
    ``FOLLOW_S``, and says whether it could."""

    sold: FindSold
    ledger: Ledger
    check: Callable[[Token, EventKind], None]
    is_here: Callable[[Told], bool]
    is_prompt: Callable[[Token, EventKind], bool]
    read: Callable[[bytes], Told | None]
    find_key: Callable[[str], Key | None]
    follow: Callable[[], Awaitable[None]] | None
    close: Callable[[], None]


def near(app: "App") -> Near:
    sold = SoldFinder(app.world, app.store)
    if not app.settings.database:
        return Near(
            sold,
            app.ledger,
            nothing_is_elsewhere,
            lambda told: True,
            lambda token, kind: True,
            app.signer.told,
            lambda text: app.keys.find(text, app.clock()),
            follow=None,
            close=lambda: None,
        )
    known = Foreknown(app.ledger, sold, app.states.seen, app.clock, partial(is_left, app))
    keys = KnownKeys(app.keys)
    log, away = app.log, [""]

    def is_here(told: Told) -> bool:
        return known.is_here(told, app.states.exposures.known)

    def read(received: bytes) -> Told | None:
        told = app.signer.told(received)
        return told if told is not None and is_here(told) else None

    async def follow() -> None:
        """Says once that the database is away, and once that it is back."""
        try:
            await asyncio.to_thread(keys.follow)
        except Unread as error:
            if not away[0]:
                log.warning("the database is away: events wait to be posted", reason=str(error))
            away[0] = str(error)
        else:
            if away[0]:
                log.info("the database is back")
            away[0] = ""

    return Near(
        known.sold, known, known.check, is_here, known.is_prompt, read, keys.find, follow, known.close
    )


def is_left(app: "App", event_id: bytes) -> bool:
    """Whether an ad was decided by a process that is no more; who is alone, all others being over, has
    nobody's but its own."""
    return app.lessee is not None and app.worker.is_left(event_id)
