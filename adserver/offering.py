"""What an app offers to whoever asks over HTTP, by the names of ``api/ports.py``."""

from typing import TYPE_CHECKING, Any

from adserver.api import openrtb
from adserver.api.ports import Services
from adserver.services.accounting import Accounting
from adserver.services.reporting import Reporting
from adserver.services.withdrawing import Withdrawal

if TYPE_CHECKING:
    from adserver.app import App


def services(app: "App", extra: tuple[Any, ...]) -> Services:
    """``extra``: further pages."""
    return Services(
        server=app.server,
        recorder=app.doors.recorder,
        receipts=app.receipts,
        manage=app.manage,
        find_key=app.near.find_key,
        metrics=app.metrics,
        log=app.log,
        ready=lambda: app.world.ready,
        auction=_auction(app),
        diagnosis=app.diagnosis,
        invalidation=app.invalidation,
        conversions=app.conversions,
        statements=app.statements,
        reporting=Reporting(app.ledger.reports, app.near.sold, app.settings.report_people),
        crediting=app.crediting,
        wallets=app.wallets,
        accounting=Accounting(app.ledger, app.clock),
        impressions=app.doors.impressions,
        waits=app.shared is not None,
        sums=app.sums,
        extra=(*openrtb.routes(), *extra),
    )


def _auction(app: "App") -> openrtb.Auction:
    states = app.states
    withdrawal = Withdrawal(states.exposures, states.budgets, app.journal, states.released, app.clock)
    return openrtb.Auction(
        app.server, app.renderer, withdrawal, lambda: app.world.snapshot, app.near.find_key,
        app.settings.base_url, app.metrics.decided,
    )  # fmt: skip
