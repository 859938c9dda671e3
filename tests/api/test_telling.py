"""Plain impressions in rows are answered as they are alone, byte for byte but for the request's id; in a
queue, from behind proxies, with no room, and whatever goes wrong."""

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small_server import SIGNER, SmallRecorder, World
from test_protocol_bare import Line
from uvicorn.config import Config
from uvicorn.server import ServerState

from adserver import octets
from adserver.api import asgi
from adserver.api.ports import Services
from adserver.api.protocol import protocol
from adserver.domain.books import JournalClosed
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.domain.told import Told
from adserver.domain.verdicts import Passed, Verdict
from adserver.services.calls import Call
from adserver.services.ports import Durable
from adserver.tokens import Token

if octets.compiled is None:
    pytest.skip("built without a compiler", allow_module_level=True)

ONE = Token(bytes(15) + b"1", 1, 2, 3, 900, 20605, 4_200_000, subject=b"s" * 16, country="FR", device=1)
(TEXT,) = SIGNER.sign(ONE, (EventKind.IMPRESSION,))
PAGE = f"GET /i/{TEXT} HTTP/1.1\r\nhost: x\r\nuser-agent: Mozilla/5.0\r\n\r\n".encode()
CLICK = PAGE.replace(TEXT.encode(), SIGNER.sign(ONE, (EventKind.CLICK,))[0].encode()).replace(b"/i/", b"/c/")


class SmallImpressions:
    """Rows, told to a recorder one by one. ``rows``: how long they were, and from where."""

    def __init__(self, recorder: SmallRecorder) -> None:
        self.read = SIGNER.told
        self.rows: list[list[str]] = []
        self._recorder = recorder

    def tell(self, row: Iterable[tuple[Told, str]]) -> list[tuple[Verdict, Durable]]:
        self.rows.append([ip for _, ip in row])
        return [self._one() for _ in self.rows[-1]]

    def _one(self) -> tuple[Verdict, Durable]:
        try:
            return self._recorder.tell(TEXT, EventKind.IMPRESSION, Call(user_agent="Mozilla/5.0"))
        except JournalClosed:
            return Verdict(Status.UNRECORDED), None


class Broken(SmallRecorder):
    def tell(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict, Durable]:
        raise KeyError("SECRET")


class Scene:
    """Connections to one server; with ``rows`` impressions are told in rows."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, rows: bool, recorder: SmallRecorder,
        trusted: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.impressions = SmallImpressions(recorder)
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"now")]
        real = asgi.build

        def build(services: Services, *given: Any) -> Any:
            if rows:
                services = msgspec.structs.replace(services, impressions=self.impressions)
            return real(services, *given)

        with monkeypatch.context() as patch:
            patch.setattr("small_server.build", build)
            world = World(folder, recorder=recorder)
            app = world.app(trusted)
        self.metrics = world.metrics
        config = Config(app, log_config=None, ws="none", lifespan="off", server_header=False)
        config.load()
        bound = protocol(app)
        self.made = lambda: bound(config, self.state, {}, asyncio.get_running_loop())

    def heard(self, *turns: tuple[bytes, ...]) -> list[bytes]:
        """What is said on as many connections as there are pieces in a turn of the loop."""
        return asyncio.run(self._heard(turns))

    async def _heard(self, turns: tuple[tuple[bytes, ...], ...]) -> list[bytes]:
        lines = [Line() for _ in turns[0]]
        connections = [self.made() for _ in lines]
        for connection, line in zip(connections, lines, strict=True):
            connection.connection_made(line)
        for number, pieces in enumerate(turns):
            self.state.default_headers = [(b"date", b"%d" % number)]
            for connection, piece in zip(connections, pieces, strict=True):
                if piece:
                    connection.data_received(piece)
            for _ in range(8):
                await asyncio.sleep(0)
        for connection in connections:
            connection.connection_lost(None)
        return [re.sub(rb"x-request-id: [^\r]*", b"x-request-id: ?", line.said) for line in lines]


TURNS = (
    ((PAGE,),), ((PAGE,), (PAGE,), (CLICK,), (PAGE,)), ((PAGE + PAGE,), (PAGE,)),
    ((PAGE, PAGE, PAGE), (b"", PAGE, CLICK)), ((PAGE, CLICK, PAGE, PAGE),), ((PAGE[:40],), (PAGE[40:],)),
    ((PAGE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),), (PAGE,)),
    ((PAGE.replace(b"Mozilla", b"M\xe9"),),),
    ((PAGE.replace(b"GET", b"HEAD"),), (PAGE.replace(b"GET", b"POST"),)),
)  # fmt: skip


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("kind", [SmallRecorder, Broken])
@pytest.mark.parametrize("full", [False, True])
def test_answers_are_the_same(
    turns: Any, kind: type[SmallRecorder], full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, counted = [], []
    for rows in (True, False):
        recorder = kind()
        recorder.full = full
        (folder := tmp_path / str(rows)).mkdir()
        scene = Scene(folder, monkeypatch, rows, recorder)
        said.append(scene.heard(*turns))
        counted.append((dict(scene.metrics._events), dict(scene.metrics._billed)))
    assert said[0] == said[1] and all(said[0])
    assert counted[0] == counted[1]


class Elsewhere(SmallRecorder):
    """Another worker's verdicts: there when what is waited for is done, and not before."""

    def tell(self, token_text: str, kind: EventKind, call: Call) -> Any:
        try:
            verdict = self._verdict(token_text, kind, call)
        except JournalClosed:
            verdict = Verdict(Status.UNRECORDED)
        passed, durable = Passed(), self.written()
        assert durable is not None
        durable.add_done_callback(lambda _: setattr(passed, "verdict", verdict))
        return passed, durable


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rows", [False, True])
def test_what_another_worker_says_is_answered_the_same(
    turns: Any, full: bool, rows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, counted = [], []
    for kind in (SmallRecorder, Elsewhere):
        recorder = kind()
        recorder.full = full
        (folder := tmp_path / kind.__name__).mkdir()
        scene = Scene(folder, monkeypatch, rows, recorder)
        said.append(scene.heard(*turns))
        counted.append((dict(scene.metrics._events), dict(scene.metrics._billed)))
    assert said[0] == said[1] and all(said[0])
    assert counted[0] == counted[1]


class Syncing(SmallRecorder):
    """Its events wait for one sync, which ends when it is told to."""

    sync: asyncio.Future[None]

    def tell(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict, Durable]:
        return super().tell(token_text, kind, call)[0], self.sync


@pytest.mark.parametrize("rows", [True, False])
def test_nothing_is_said_before_the_sync(rows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, monkeypatch, rows, recorder := Syncing())

    async def main() -> None:
        recorder.sync = asyncio.get_running_loop().create_future()
        lines = [Line(), Line()]
        for line in lines:
            connection = scene.made()
            connection.connection_made(line)
            connection.data_received(PAGE)
        for _ in range(8):
            await asyncio.sleep(0)
        assert [line.said for line in lines] == [b"", b""]
        recorder.sync.set_result(None)
        for _ in range(8):
            await asyncio.sleep(0)
        assert [line.statuses() for line in lines] == [[200], [200]]

    asyncio.run(main())


def test_a_turn_that_served_before_is_decided_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection keeps it; what looks for work meanwhile finds it taken."""
    scene = Scene(tmp_path, monkeypatch, True, Broken())

    async def main() -> Line:
        connection, line = scene.made(), Line()
        connection.connection_made(line)
        for _ in range(2):
            connection.data_received(PAGE)
            connection.resume_writing()
            for _ in range(8):
                await asyncio.sleep(0)
        return line

    assert asyncio.run(main()).statuses() == [500, 500]
    assert [len(row) for row in scene.impressions.rows] == [1, 1]


def test_an_ending_server_answers_what_is_owed_and_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, True, SmallRecorder())

    async def main() -> Line:
        connection, line = scene.made(), Line()
        connection.connection_made(line)
        connection.data_received(PAGE)
        connection.shutdown()
        for _ in range(8):
            await asyncio.sleep(0)
        return line

    line = asyncio.run(main())
    assert line.statuses() == [200] and b"connection: close" in line.said and line.closed


def test_a_row_is_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, monkeypatch, True, SmallRecorder())
    scene.heard((PAGE, PAGE, CLICK, PAGE, PAGE, PAGE))
    assert [len(row) for row in scene.impressions.rows] == [2, 3]


@pytest.mark.parametrize(
    ("trusted", "addresses"),
    [((), ["192.0.2.1"] * 2), (("192.0.2.0/24",), ["192.0.2.1", "198.51.100.7"]),
     (("10.0.0.0/8",), ["192.0.2.1"] * 2)],
)  # fmt: skip
def test_trusted_proxies_are_believed(
    trusted: tuple[str, ...], addresses: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = PAGE.replace(b"\r\n\r\n", b"\r\nx-forwarded-for: 203.0.113.1, 198.51.100.7\r\n\r\n")
    scene = Scene(tmp_path, monkeypatch, True, SmallRecorder(), trusted)
    scene.heard((PAGE, said))
    assert scene.impressions.rows == [addresses]
