"""Logs: one JSON object a line, on stderr.

Nothing personal is written: no user id, no address, no token, no body. That is why an exception is told by
its type and its frames but not by its message, which as often as not quotes what somebody sent; only the
system's own errors (OSError) speak.
"""

import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, TextIO

_FACTS: Final = "facts"
_KEYS_MAX: Final = 1024
INTERVAL_S: Final = 60.0


class JsonLines(logging.Formatter):
    """A record as ``{"time", "level", "logger", "message", ..always, ..facts, "error", "frames"}``."""

    def __init__(self, always: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._always = always or {}

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= self._always
        line |= getattr(record, _FACTS, {})
        if record.exc_info is not None and record.exc_info[1] is not None:
            line |= _told(record.exc_info[1])
        return json.dumps(line, default=str)


def _told(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    kind = type(error)
    told: dict[str, Any] = {
        "error": f"{kind.__module__}.{kind.__qualname__}",
        "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, OSError) and error.strerror:
        told["reason"] = error.strerror
    cause = error.__cause__ or error.__context__
    if cause is not None:
        told["cause"] = _told(cause)
    return told


def configure(level: str = "info", stream: TextIO | None = None, **always: object) -> None:
    """Everything that logs in this process (the server's own, uvicorn, asyncio) writes JSON lines to
    ``stream`` (default: stderr). ``level``: debug, info, warning or error; ``always``: facts of each line."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines(always))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    logging.captureWarnings(True)


class OncePer:
    """Lets the first of each key pass per interval, and counts the others. ``clock``: seconds."""

    def __init__(self, interval_s: float = INTERVAL_S, clock: Callable[[], float] = monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def passes(self, key: str) -> int | None:
        """How many of this key were held back since the last that passed; None to hold this one back."""
        now = self._clock()
        last = self._seen.get(key)
        if last is not None and now - last[0] < self._interval_s:
            self._seen[key] = (last[0], last[1] + 1)
            return None
        if last is None and len(self._seen) >= _KEYS_MAX:
            self._seen.clear()
        self._seen[key] = (now, 0)
        return 0 if last is None else last[1]


class Log:
    """What the server says about itself. ``repeats`` holds back what happens again and again."""

    def __init__(self, name: str = "adserver", repeats: OncePer | None = None) -> None:
        self._logger = logging.getLogger(name)
        self._repeats = OncePer() if repeats is None else repeats

    def info(self, what: str, **facts: object) -> None:
        self._write(logging.INFO, what, facts)

    def warning(self, what: str, **facts: object) -> None:
        """Something of a store's or the operator's: once per interval and ``what``."""
        self._limited(logging.WARNING, what, what, facts)

    def refused(self, route: str, status: int, request_id: str) -> None:
        """A caller's fault: once per interval, route and status."""
        facts = {"route": route, "status": status, "request_id": request_id}
        self._limited(logging.INFO, f"{status} {route}", "refused", facts)

    def failure(self, what: str, error: BaseException, **facts: object) -> None:
        """A fault of ours: always, with the frames."""
        self._write(logging.ERROR, what, facts, error)

    def _limited(self, level: int, key: str, what: str, facts: dict[str, object]) -> None:
        held_back = self._repeats.passes(key)
        if held_back is not None:
            self._write(level, what, {**facts, "held_back": held_back} if held_back else facts)

    def _write(
        self, level: int, what: str, facts: dict[str, object], error: BaseException | None = None
    ) -> None:
        self._logger.log(level, what, exc_info=error, extra={_FACTS: facts})
