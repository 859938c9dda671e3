"""What tells invalid traffic, from its parts."""

from functools import partial
from typing import TYPE_CHECKING

from adserver.domain import limits
from adserver.domain.decision import EventKind
from adserver.near import is_left
from adserver.services.screening import Screen, Tempos
from adserver.settings import Rate, Settings
from adserver.state.tempo import Fading, Tempo

if TYPE_CHECKING:
    from adserver.app import App


def screen(app: "App") -> Screen:
    """Of an app whose stores are open. It begins knowing nobody's tempo."""
    settings = app.settings
    return Screen(
        app.world, app.states.seen, app.near.ledger, app.addresses, _tempos(settings),
        Fading(settings.fastest_click_ms, limits.SHOWN_KEPT), settings.fastest_click_ms,
        app.metrics.filtered, app.marked.add, partial(is_left, app),
    )  # fmt: skip


def _tempos(settings: Settings) -> dict[EventKind, Tempos]:
    """A viewable impression keeps the tempo of an impression, counted by itself."""
    numbers = {EventKind.IMPRESSION: 0, EventKind.VIEWABLE: 0, EventKind.CLICK: 1}
    return {
        kind: Tempos(
            _tempo(settings.rate_per_user, number),
            _tempo(settings.rate_per_address, number),
            _tempo(settings.rate_per_placement, number),
        )
        for kind, number in numbers.items()
    }


def _tempo(rate: Rate, number: int) -> Tempo[bytes | int] | None:
    return Tempo(rate[number], limits.TEMPOS_KEPT) if rate[number] else None
