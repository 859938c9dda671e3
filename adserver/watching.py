"""What of a server is measured when somebody asks."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adserver.app import App


def watch(app: "App") -> None:
    """Once it is composed."""

    def lag_bytes() -> float:
        written, posted = app.journal.position, app.ledger.position
        behind = (written.segment - posted.segment) * app.settings.segment_bytes
        return float(behind + written.offset - posted.offset)

    app.metrics.watch(
        lag_bytes,
        lambda: float(app.world.snapshot.revision),
        lambda: (app.clock() - app.publishing.live_since_ms) / 1000,
        lambda: float(app.journal.open),
        lambda: float(app.refused),
        lambda: app.lag.lag_s,
        lambda: float(app.addresses.listed),
        lambda: float(app.states.touches.dropped),
        lambda: float(app.shared is None or app.shared.there),
    )
