"""Requests that need no parser, between those that do: pieces of bytes as they come on a connection."""

import asyncio
from pathlib import Path

import pytest
from small_server import SmallRecorder, World
from uvicorn.config import Config
from uvicorn.server import ServerState

from adserver.api import turn
from adserver.api.protocol import HttpProtocol, protocol
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.domain.verdicts import Verdict
from adserver.services.calls import Call
from adserver.services.ports import Durable

PAGE = b"GET /i/abc HTTP/1.1\r\nhost: x\r\n\r\n"
ASK = b"POST /v1/release HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


class Line(asyncio.Transport):
    """What was said on it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 80), "socket": None})
        self.said = b""
        self.paused = self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += data

    def statuses(self) -> list[int]:
        return [int(answer[:3]) for answer in self.said.split(b"HTTP/1.1 ")[1:]]

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Endless(SmallRecorder):
    """A disk that never syncs."""

    def tell(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict, Durable]:
        return Verdict(Status.ACCEPTED), asyncio.get_running_loop().create_future()


def heard(folder: Path, *pieces: bytes, recorder: SmallRecorder | None = None) -> Line:
    """All that is said when these come, each in a turn of the loop of its own."""

    async def main() -> Line:
        app = World(folder, recorder=recorder or SmallRecorder()).app()
        config = Config(app, log_config=None, ws="none", lifespan="off", server_header=False)
        config.load()
        connection: HttpProtocol = protocol(app)(config, ServerState(), {}, asyncio.get_running_loop())
        line = Line()
        connection.connection_made(line)
        for piece in pieces:
            connection.data_received(piece)
            for _ in range(8):
                await asyncio.sleep(0)
        paused = line.paused
        connection.connection_lost(None)
        line.paused = paused
        return line

    return asyncio.run(main())


def test_plain_requests_stand_between_others(tmp_path: Path) -> None:
    body = b'{"tokens":["x"]}'
    pieces = (PAGE, ASK % len(body) + body, PAGE, PAGE.replace(b"GET", b"PUT"), PAGE, PAGE + PAGE, PAGE)
    assert heard(tmp_path, *pieces).statuses() == [404, 200, 404, 405, 404, 404, 404, 404]


@pytest.mark.parametrize(
    ("begin", "statuses"),
    [
        (b"GET /i/a HTTP/1.1\r\nhost: x\r\na: ", [400]),
        (b"G", [400]),
        (b"\r\n", [404]),
        (ASK % (len(PAGE) + 2), []),
        (ASK % len(PAGE), [400]),
    ],
)
def test_a_piece_of_another_request_is_no_request(tmp_path: Path, begin: bytes, statuses: list[int]) -> None:
    """Though it reads like one: it goes on with a header, a method, a body."""
    assert heard(tmp_path, begin, PAGE).statuses() == statuses


def test_the_parser_is_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if turn.compiled is None:
        pytest.skip("built without a compiler")
    fed = list[bytes]()
    monkeypatch.setattr(HttpProtocol, "_parse", lambda self, data: fed.append(data))
    assert heard(tmp_path, PAGE, PAGE[:20]).statuses() == [404] and fed == [PAGE[:20]]


def test_while_an_answer_is_owed_no_more_than_one_other_is_taken(tmp_path: Path) -> None:
    for pieces in ((PAGE,), (PAGE, PAGE)):
        line = heard(tmp_path, *pieces, recorder=Endless())
        assert line.statuses() == [] and line.paused is (len(pieces) > 1)


def test_after_an_end_nothing_is_taken(tmp_path: Path) -> None:
    last = PAGE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    line = heard(tmp_path, PAGE, last, PAGE)
    assert line.statuses() == [404, 404] and line.closed
