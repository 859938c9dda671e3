"""What Python imports first in a process whose clock a test sets: so many milliseconds ahead as the file says
that ``CLOCK_AHEAD`` names, whenever the time is asked."""

import os
import time
from pathlib import Path

_AHEAD = Path(os.environ["CLOCK_AHEAD"])
_time_ns = time.time_ns


def set_ns() -> int:
    return _time_ns() + int(_AHEAD.read_text()) * 1_000_000


time.time_ns = set_ns
time.time = lambda: set_ns() / 1e9
