"""A server of several workers, of whom one is killed as it journals a decision where the data folder says so
(``DIE``): Redis has agreed to it by then.

``python mortal.py serve ...``: as ``adserver serve``; its workers are ``python -m mortal``.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from adserver.domain.records import Decided
from adserver.ledger.journal import Journal
from adserver.workers import parent
from adserver.workers.child import Whole, work
from adserver.workers.given import Given

DIE = "die"
HERE = Path(__file__).resolve().parent
COMMAND = [sys.executable, str(HERE / "mortal.py")]


class Mortal(Whole):
    def __init__(self, given: Given) -> None:
        super().__init__(given)
        told, append = given.settings.data / DIE, Journal.append

        def last(journal: Journal, record: Any, personal: Any = None) -> None:
            if isinstance(record, Decided) and told.exists():
                told.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            append(journal, record, personal)

        Journal.append = last  # type: ignore[method-assign]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        from adserver.cli import main

        os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (HERE, HERE.parent.parent)))
        parent.serve.__defaults__ = ("mortal",)
        main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(work(Mortal))
