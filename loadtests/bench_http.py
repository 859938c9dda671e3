"""What HTTP costs: server CPU per request of a decision and of an impression, three ways side by side.

``python -m loadtests.bench_http``: *fast* is the server as it is, *asgi* the same with every path left to
ASGI, *empty* a Starlette endpoint on uvicorn that decodes the same request and answers a constant of the
same size. Each is a process of its own on one core, asked in alternating rounds over kept connections by
this process on another. CPU is of all threads of the server, read from the kernel's scheduler in
nanoseconds; ratios are taken within a round, and their medians printed beside the absolutes. A preflight
is the wire alone; a decision is asked for a new person each time; an impression is one that a decision of
the same round was answered.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adserver import serving
from adserver.api.envelope import preflight, stamped
from adserver.api.events import GIF
from adserver.api.protocol import protocol
from adserver.services.ask import DECODER
from adserver.settings import Settings
from adserver.telemetry import logs

BROWSER: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
)
WAYS: Final = ("fast", "asgi", "empty")
KINDS: Final = ("preflight", "decision", "impression")
_PREFLIGHT: Final = {name.decode(): value.decode() for name, value in stamped(preflight().headers, "x")}
_ASKED_BEFORE: Final = b"OPTIONS /v1/decisions HTTP/1.1\r\nhost: x\r\norigin: https://x.example\r\n\r\n"
_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_IMPRESSION: Final = re.compile(rb'"impression_url":"http://[^/]+(/i/[^"]+)"')


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.bench_http", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000, help="of each kind, way and round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--publisher", default="harbour-gazette")
    parser.add_argument("--placement", default="article-inline")
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        _serve(asked.serve, asked.size, asked.folder)
    else:
        _measure(asked)


# -- the servers -----------------------------------------------------------------------------------


def _serve(way: str, size: int, folder: Path) -> None:
    logs.configure("error")
    os.sched_setaffinity(0, {0})
    settings = Settings(data=folder, campaigns=Path("campaigns"), port=0)
    listening, settings = serving.bind(settings)
    if way == "empty":
        server = uvicorn.Server(_plain(_empty(size)))
    else:
        app = serving.open_app(settings)
        server = serving.server_of(app, settings)
        server.config.http = protocol(app.asgi, fast=way == "fast")
    print(settings.port, flush=True)
    server.run(sockets=[listening])


def _plain(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", access_log=False, log_config=None,
        server_header=False, proxy_headers=False, lifespan="off",
    )  # fmt: skip


def _empty(size: int) -> Starlette:
    constant = b" " * size

    async def decide(request: Request) -> Response:
        DECODER.decode(await request.body())
        return Response(constant, media_type="application/json")

    async def options(request: Request) -> Response:
        return Response(status_code=204, headers=_PREFLIGHT)

    async def impression(request: Request) -> Response:
        return Response(GIF, media_type="image/gif")

    routes = [
        Route("/v1/decisions", decide, methods=["POST"]),
        Route("/v1/decisions", options, methods=["OPTIONS"]),
        Route("/i/{token}", impression),
    ]
    return Starlette(routes=routes)


# -- the client ------------------------------------------------------------------------------------


class _Asker(asyncio.Protocol):
    """Asks one after the other from a shared stack until it is empty; keeps the answers' bodies."""

    def __init__(self, requests: list[bytes], answers: list[bytes], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._answers = answers
        self._done = done
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        length = _LENGTH.search(self._read) if end >= 0 else None
        if end < 0 or (length is not None and len(self._read) < end + 4 + int(length[1])):
            return
        assert self._read.startswith(b"HTTP/1.1 20"), self._read
        self._answers.append(self._read[end + 4 :])
        self._read = b""
        self._next()

    def _next(self) -> None:
        if self._requests:
            self._transport.write(self._requests.pop())
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()


async def _ask(port: int, requests: list[bytes], connections: int) -> list[bytes]:
    loop, answers = asyncio.get_running_loop(), list[bytes]()
    waiting = [loop.create_future() for _ in range(connections)]
    for done in waiting:
        await loop.create_connection(lambda done=done: _Asker(requests, answers, done), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*waiting)
    return answers


def _decisions(publisher: str, placement: str, people: range) -> list[bytes]:
    made = []
    for person in people:
        body = json.dumps(
            {
                "publisher": publisher, "placements": [{"id": placement}], "user": {"id": f"u{person}"},
                "session": f"s{person}", "consent": {"personalised": True}, "device": {"language": "en"},
            }
        ).encode()  # fmt: skip
        head = f"POST /v1/decisions HTTP/1.1\r\nhost: x\r\nuser-agent: {BROWSER}\r\naccept-language: en\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


def _impressions(paths: list[bytes]) -> list[bytes]:
    head = f" HTTP/1.1\r\nhost: x\r\nuser-agent: {BROWSER}\r\naccept: image/*\r\n\r\n".encode()
    return [b"GET " + path + head for path in paths]


class _Server:
    def __init__(self, way: str, size: int, folder: Path) -> None:
        command = [sys.executable, "-m", "loadtests.bench_http", "--serve", way, "--size", str(size)]
        self._process = subprocess.Popen(
            [*command, "--folder", str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def cpu_ns(self) -> int:
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def ask(self, requests: list[bytes], connections: int) -> tuple[float, list[bytes]]:
        """(CPU microseconds a request, bodies)."""
        count, before = len(requests), self.cpu_ns()
        answers = asyncio.run(_ask(self.port, requests, connections))
        return (self.cpu_ns() - before) / 1000 / count, answers

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(30)


# -- the measurement -------------------------------------------------------------------------------


def _measure(asked: argparse.Namespace) -> None:
    os.sched_setaffinity(0, {1})
    print(
        f"{platform.platform()}, CPython {platform.python_version()}, {os.cpu_count()} cores, load",
        os.getloadavg(),
    )
    print(", ".join(f"{name} {version(name)}" for name in ("uvicorn", "httptools", "uvloop", "starlette")))
    print(f"{asked.rounds} rounds of {asked.requests} requests, {asked.connections} connections")
    with tempfile.TemporaryDirectory() as folder:
        fast, asgi = (_Server(way, 0, Path(folder) / way) for way in ("fast", "asgi"))
        warm = fast.ask(_decisions(asked.publisher, asked.placement, range(-300, 0)), 4)[1]
        asgi.ask(_decisions(asked.publisher, asked.placement, range(-300, 0)), 4)
        size = int(median(len(body) for body in warm))
        empty = _Server("empty", size, Path(folder) / "empty")
        servers = {"fast": fast, "asgi": asgi, "empty": empty}
        try:
            _report(_rounds(servers, asked), size)
        finally:
            for server in servers.values():
                server.end()


def _rounds(servers: dict[str, _Server], asked: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    taken: dict[str, dict[str, list[float]]] = {kind: {way: [] for way in WAYS} for kind in KINDS}
    for number in range(asked.rounds):
        people = range(number * asked.requests, (number + 1) * asked.requests)
        paths = [b"/i/none"]
        for way, server in servers.items():
            preflights = [_ASKED_BEFORE] * asked.requests
            taken["preflight"][way].append(server.ask(preflights, asked.connections)[0])
            cost, bodies = server.ask(_decisions(asked.publisher, asked.placement, people), asked.connections)
            taken["decision"][way].append(cost)
            paths = [path for body in bodies for path in _IMPRESSION.findall(body)] or paths
            assert len(paths) > asked.requests // 10, "too few ads: another placement would do better"
            taken["impression"][way].append(server.ask(_impressions(paths), asked.connections)[0])
    return taken


def _report(taken: dict[str, dict[str, list[float]]], size: int) -> None:
    print(f"answer of a decision: {size} bytes\n\n| request | way | CPU us | against empty | against fast |")
    print("|---|---|---|---|---|")
    for kind, ways in taken.items():
        for way, costs in ways.items():
            ratios = [
                median(cost / other for cost, other in zip(costs, ways[base], strict=True))
                for base in ("empty", "fast")
            ]
            print(f"| {kind} | {way} | {median(costs):.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
