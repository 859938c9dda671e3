"""The server with one law broken on purpose: ``python broken_server.py LAW serve ...``. Only tests run it."""

import sys

from adserver.cli import main
from adserver.engine.feed import Layout
from adserver.ledger.accounts import Bound
from adserver.ledger.budgets import Budgets
from adserver.state.memory import MemoryState


def break_feeds() -> None:
    """Every position is open to everybody."""
    Layout._earliest = lambda layout: layout._position
    Layout.admits = lambda *_: True


def break_caps() -> None:
    """No cap is ever full, and nobody has any line item capped."""
    MemoryState.full = lambda *_, **__: False
    MemoryState.capped_out = lambda *_, **__: {}


def break_budgets() -> None:
    """No account has a limit, whatever the catalogue says."""
    standing = Budgets.standing

    def unlimited(budgets: Budgets, line_item: int, at_ms: int) -> Bound | None:
        bound = standing(budgets, line_item, at_ms)
        if bound is not None:
            bound.limited = ()
        return bound

    Budgets.standing = unlimited


BREAKS = {"feeds": break_feeds, "caps": break_caps, "budgets": break_budgets}

if __name__ == "__main__":
    BREAKS[sys.argv.pop(1)]()
    main()
