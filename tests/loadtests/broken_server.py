"""The server with one law broken on purpose: ``python broken_server.py LAW serve ...``. Only tests run it."""

import sys

from adserver.cli import main
from adserver.engine.feed import Layout
from adserver.ledger.budgets import Budgets
from adserver.state.memory import MemoryState


def break_feeds() -> None:
    """Every position is open to everybody."""
    Layout._earliest = lambda layout: layout._position
    Layout.admits = lambda *_: True


def break_caps() -> None:
    """No cap is ever full."""
    MemoryState.full = lambda *_: False


def break_budgets() -> None:
    """Every budget has room."""
    Budgets.room = lambda *_: True
    Budgets.affords = lambda *_: True


BREAKS = {"feeds": break_feeds, "caps": break_caps, "budgets": break_budgets}

if __name__ == "__main__":
    BREAKS[sys.argv.pop(1)]()
    main()
