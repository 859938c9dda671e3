"""Logs: one JSON object a line, whatever happens, and nothing personal."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.telemetry.logs import JsonLines, Log, OncePer, configure


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def written(message: str, *arguments: object) -> str:
    record = logging.LogRecord("x", logging.INFO, "f", 1, message, arguments, None)
    return JsonLines().format(record)


@given(st.text())
def test_every_message_is_one_line(message: str) -> None:
    line = written("%s", message)
    assert "\n" not in line and "\r" not in line and line.isascii()
    assert json.loads(line)["message"] == message


def test_times_are_utc() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "m", None, None)
    record.created = 1_780_000_000.5
    assert json.loads(JsonLines().format(record))["time"] == "2026-05-28T20:26:40.500Z"


def test_everything_that_logs_writes_json_lines(restored: None) -> None:
    stream = io.StringIO()
    configure("info", stream)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.access").info('127.0.0.1 - "GET /i/token"')
    logging.getLogger("asyncio").debug("not at this level")
    Log().info("started", port=8000)
    assert [(line["logger"], line["level"]) for line in lines(stream)] == [
        ("uvicorn.error", "warning"), ("adserver", "info"),
    ]  # fmt: skip
    assert lines(stream)[1]["port"] == 8000


def test_an_exception_is_told_without_what_it_quotes(restored: None) -> None:
    stream = io.StringIO()
    configure(stream=stream)
    try:
        try:
            raise KeyError("u-123-secret")
        except KeyError as error:
            raise RuntimeError("u-123-secret") from error
    except RuntimeError as error:
        Log().failure("a request failed", error, route="/v1/decisions")
    [line] = lines(stream)
    assert (line["error"], line["cause"]["error"]) == ("builtins.RuntimeError", "builtins.KeyError")
    assert line["frames"][0].endswith("test_an_exception_is_told_without_what_it_quotes")
    assert "secret" not in stream.getvalue()


def test_errors_of_the_system_say_their_reason(restored: None) -> None:
    stream = io.StringIO()
    configure(stream=stream)
    Log().failure("journal", OSError(28, "No space left on device"))
    assert lines(stream)[0]["reason"] == "No space left on device"


def test_repeats_are_held_back_and_counted(restored: None) -> None:
    stream, now = io.StringIO(), [0.0]
    configure(stream=stream)
    log = Log(repeats=OncePer(60, lambda: now[0]))
    for at in (0, 1, 59.9, 60, 61):
        now[0] = at
        log.warning("the store is slow")
        log.refused("/v1/decisions", 400, f"r{at}")
    told = [line.get("held_back", 0) for line in lines(stream) if line["message"] == "the store is slow"]
    assert told == [0, 2]
    assert [line["request_id"] for line in lines(stream) if line["message"] == "refused"] == ["r0", "r60"]


def test_the_memory_of_repeats_is_bounded() -> None:
    repeats = OncePer(60, lambda: 0.0)
    for key in range(5000):
        assert repeats.passes(str(key)) == 0
    assert len(repeats._seen) <= 1024
