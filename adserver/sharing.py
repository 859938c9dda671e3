"""State in Redis, as an app composes it. What needs a driver is imported where Redis is asked for alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from adserver.services.lives import Life
from adserver.services.passing import Others
from adserver.services.sharing import SharedDecisions
from adserver.services.vouching import Vouching
from adserver.settings import BadSettings
from adserver.state.shared.mirror import Mirror
from adserver.state.shared.paging import Paging

if TYPE_CHECKING:
    from adserver.app import App
    from adserver.state.shared.store import SharedState


def check(url: str) -> None:
    """Before anything is opened. Raises BadSettings for one that can be no Redis'."""
    if not url:
        return
    from adserver.state.shared.dialling import Address, seeds

    try:
        if not seeds(url):
            Address(url)
    except ValueError as error:
        raise BadSettings([f"redis: {error}"]) from error


def share(app: "App") -> "SharedState | None":
    """What an app's decisions ask; None where they ask nobody."""
    if not isinstance(app.decisions, SharedDecisions):
        return None
    from adserver.state.shared.store import SharedState

    settings, states, worker = app.settings, app.states, app.worker
    state = app.decisions.shared = SharedState(
        settings.redis, cast(Mirror, states.exposures), cast(Paging, states.feeds), worker.number,
        worker.adding, settings.redis_deadline_ms / 1000, app.clock, _told(app), app.metrics.sharing,
        settings.on_state_doubt == "serve", worker.fleet is not None,
    )  # fmt: skip
    return state


def vouch(app: "App", others: Others | None) -> Vouching:
    """What an app's decisions ask before they give anything again, and what others ask of it."""
    settings = app.settings
    life = Life(app.states.feeds, app.states.repeats, app.clock())
    vouching = Vouching(app.worker, life, others, settings.redis_deadline_ms / 1000, app.clock)
    if isinstance(app.decisions, SharedDecisions):
        app.decisions.vouching = vouching
    return vouching


def _told(app: "App") -> Callable[[str], None]:
    """Says what became of it."""

    def told(why: str) -> None:
        app.metrics.sharing.state_is(not why)
        if why:
            waits = "feeds" if app.shared is not None and app.shared.there else "capped line items and feeds"
            app.log.warning(f"what people have seen is not known: {waits} wait", reason=why)
        else:
            app.log.info("what people have seen is known")

    return told
