"""The wire, really served, over small but honest use cases: signed tokens, the real catalog."""

import asyncio
import contextlib
import http.client
import io
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import uvicorn

from adserver.api.asgi import Application, build
from adserver.api.ports import Auction, Services, Sums
from adserver.api.protocol import protocol
from adserver.catalog.documents import parse_json
from adserver.catalog.store import Store
from adserver.domain import ids
from adserver.domain.books import JournalClosed
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.domain.verdicts import Verdict
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.calls import Call
from adserver.services.manage import Manage
from adserver.services.ports import Durable
from adserver.services.receipts import Receipts
from adserver.services.refusals import Refused
from adserver.telemetry.logs import JsonLines, Log, OncePer
from adserver.telemetry.metrics import Metrics
from adserver.tokens import Signer, Token

SIGNER = Signer({1: b"k" * 32}, 1, b"m" * 32)
LANDING = "https://good.example/?c=1"
LETTERS = {"impression": "i", "viewable": "v", "click": "c", "release": "r", "hide": "h", "report": "p"}


@dataclass(frozen=True)
class Holder:
    role: str
    owner: str | None = None
    read_prices: bool = False


KEYS = {
    "adk_op": Holder("operator"),
    "adk_acme": Holder("advertiser", "acme"),
    "adk_lumen": Holder("publisher", "lumen"),
    "adk_other_acme": Holder("publisher", "acme"),
}


@dataclass(frozen=True)
class Encoded:
    status: int
    body: bytes


class SmallAdServer:
    """Answers each placement with nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Ask, Asker, Terms]] = []
        self.broken = False

    def decide(self, ask: Ask, asker: Asker, terms: Terms) -> Encoded:
        self.asked.append((ask, asker, terms))
        if self.broken:
            raise KeyError("SECRET-u-123")
        if ask.placements[0].feed is not None and ask.placements[0].feed.page > 0:
            raise Refused(409, "a page ahead", [("placements[0].feed.page", "too far")], {"expected_page": 0})
        entries = [
            {"placement": placement.id, "ads": [], "unfilled": 1, "no_fill": "no_match"}
            for placement in ask.placements
        ]
        answer = {"request_id": "x", "snapshot": "r1", "decisions": entries, "explain": None}
        return Encoded(200, msgspec.json.encode(answer))

    def origins(self, publisher: str | None) -> Sequence[str]:
        return ("https://walled.example",) if publisher == "walled" else ()


class SmallRecorder:
    """De-duplicates in memory; ``full`` is a full disk."""

    def __init__(self) -> None:
        self.recorded: list[tuple[bytes, EventKind, Call]] = []
        self.full = False

    def peek(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict, Durable]:
        SIGNER.open(token_text, kind)
        return Verdict(Status.ACCEPTED, False, LANDING if kind is EventKind.CLICK else None), None

    def tell(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict, Durable]:
        return self._verdict(token_text, kind, call), self.written()

    def written(self) -> Durable:
        """In the next turn of the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        loop.call_soon(future.set_result, None)
        return future

    def _verdict(self, token_text: str, kind: EventKind, call: Call) -> Verdict:
        _, token = SIGNER.open(token_text, kind)
        location = LANDING if kind is EventKind.CLICK else None
        if self.full:
            if location is None:
                raise JournalClosed
            return Verdict(Status.UNRECORDED, False, location)
        if kind is EventKind.RELEASE:
            return Verdict(Status.ACCEPTED)
        if call.prefetch or not call.user_agent.startswith("Mozilla/"):
            return Verdict(Status.FILTERED, False, location)
        if any(known == token.event_id and of is kind for known, of, _ in self.recorded):
            return Verdict(Status.DUPLICATE, False, location)
        self.recorded.append((token.event_id, kind, call))
        return Verdict(Status.ACCEPTED, kind is EventKind.IMPRESSION, location)


class SmallDelivery:
    def of(self, campaign: str) -> dict[str, Any] | None:
        return {"campaign": campaign, "currency": "EUR"} if campaign == "acme/summer" else None


@dataclass
class World:
    """Everything behind the wire, for tests to look at; the catalog is the real one, in ``folder``."""

    folder: Path
    server: SmallAdServer = field(default_factory=SmallAdServer)
    recorder: SmallRecorder = field(default_factory=SmallRecorder)
    metrics: Metrics = field(default_factory=Metrics)
    ready: bool = True
    changes: int = 0

    def __post_init__(self) -> None:
        self.store = Store(self.folder / "catalog.sqlite", lambda space, user: bytes(16))

    def changed(self) -> None:
        self.changes += 1

    def app(
        self, trusted: Sequence[str] = (), auction: Auction | None = None, sums: Sums | None = None,
        changed: Callable[[], None] | None = None,
    ) -> Application:  # fmt: skip
        manage = Manage(self.store, parse_json, SmallDelivery(), changed or self.changed)
        services = Services(
            self.server, self.recorder, Receipts(b"r" * 32), manage, KEYS.get, self.metrics,
            Log("adserver.test", OncePer(0)), lambda: self.ready, auction, sums=sums,
        )  # fmt: skip
        return build(services, trusted)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """A server that listens, and what a client needs to talk to it. ``world`` is what stands behind."""

    port: int
    world: World
    log: io.StringIO
    operator_key: str = "adk_op"
    acme_key: str = "adk_acme"
    lumen_key: str = "adk_lumen"
    every_line: bool = True
    publisher: str = "lumen"
    placement: str = "home-top"
    _minted: int = 0

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, response.read())

    def decide(self, body: Any, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", "/v1/decisions", raw, {"content-type": "application/json"} | named)

    def raw(self, sent: bytes, timeout: float = 20.0, silence: float | None = None) -> bytes:
        """Exact bytes in, all bytes out until the server closes or is silent for ``timeout`` seconds, once it
        has said something for ``silence``."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            received = b""
            with contextlib.suppress(OSError):
                connection.sendall(sent)
                while part := connection.recv(65536):
                    received += part
                    connection.settimeout(silence or timeout)
            return received

    def token(self, kind: str) -> str:
        """A fresh token, good for one purpose."""
        self._minted += 1
        minted = ids.mint(time.time_ns() // 1_000_000, self._minted, 1)
        token = Token(minted, 1, 1, 1, 900, 20000, 4200)
        return SIGNER.sign(token, (EventKind[kind.upper()],))[0]

    def tracking(self, kind: str) -> str:
        return f"/{LETTERS[kind]}/{self.token(kind)}"

    def accepted(self) -> float:
        """Events accepted so far, by the server's own count."""
        text = self.ask("GET", "/metrics").body.decode()
        counted = re.findall(r'^adserver_events_total\{.*verdict="accepted"\} (\S+)$', text, re.MULTILINE)
        return sum(float(count) for count in counted)

    def busy_s(self) -> float:
        """Processor time of the serving process so far."""
        return time.process_time()

    def rss_bytes(self) -> int:
        """Resident memory of the serving process."""
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@contextlib.contextmanager
def served(
    world: World,
    trusted: Sequence[str] = (),
    auction: Auction | None = None,
    http: Callable[[Application], Any] = protocol,
) -> Iterator[Wire]:
    """Really listening on a free port of the loopback, in a thread of its own. ``http``: makes the protocol
    class of uvicorn's (or its name) for the app."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("adserver.test")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    listener = socket.create_server(("127.0.0.1", 0))
    app = world.app(trusted, auction)
    config = uvicorn.Config(
        app, http=http(app), ws="none", lifespan="off", log_config=None,
        access_log=False, proxy_headers=False, server_header=False,
    )  # fmt: skip
    loop = config.get_loop_factory()()
    server = uvicorn.Server(config)
    server.lifespan = Quiet()
    config.load()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    # Not `server.run` and `server.shutdown`: they sleep for a tenth of a second at every turn.
    asyncio.run_coroutine_threadsafe(server.startup([listener]), loop).result(30)
    try:
        yield Wire(listener.getsockname()[1], world, log)
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        logger.removeHandler(handler)


async def stop(server: uvicorn.Server) -> None:
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    for listening in server.servers:
        await listening.wait_closed()


class Quiet:
    """The lifespan of an app that has none."""

    should_exit = False
    state: ClassVar[dict[str, Any]] = {}

    async def shutdown(self) -> None: ...
    async def startup(self) -> None: ...


USER_AGENT = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"}
