"""The servers that are compared, each a process of its own on a socket it inherits: ours, the same with
state in Redis, and the empty endpoint, which is the same uvicorn and a Starlette route that decodes the same
request and returns a constant of the same size."""

import gc
import socket
import sys
from pathlib import Path
from threading import Thread
from typing import Any, Final

import uvicorn
from msgspec import structs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adserver.api.events import GIF
from adserver.app import App
from adserver.bench.catalogue import Shape
from adserver.bench.stores import DEADLINE_MS
from adserver.engine.compile import compile_snapshot
from adserver.services.ask import DECODER
from adserver.serving import server_of
from adserver.settings import Settings
from adserver.telemetry import logs

KINDS: Final = ("adserver", "shared", "empty")


def serve(kind: str, descriptor: int, data: Path, line_items: int, reply_bytes: int, redis: str) -> None:
    """Serve until our standard input ends. ``redis``: the URL for the kind ``shared``."""
    logs.configure("warning")
    with socket.socket(fileno=descriptor) as listening:
        settings = Settings(data=data, port=listening.getsockname()[1])
        if kind == "empty":
            server = _server(_empty(reply_bytes), settings)
        else:
            settings = structs.replace(settings, redis=redis, redis_deadline_ms=DEADLINE_MS)
            server = server_of(_adserver(settings, line_items), settings)
        Thread(target=_wait_for_end, args=(server,), daemon=True).start()
        server.run(sockets=[listening])


def _adserver(settings: Settings, line_items: int) -> App:
    app = App(settings)
    gc.disable()
    catalogue = Shape().catalogue(line_items, app.clock())
    gc.enable()
    app.publishing.put_live(compile_snapshot(catalogue))
    return app


def _empty(reply_bytes: int) -> Starlette:
    body = b'{"decisions":"' + b"x" * max(reply_bytes - 16, 0) + b'"}'

    async def decide(request: Request) -> Response:
        DECODER.decode(await request.body())
        return Response(body, media_type="application/json")

    async def impression(request: Request) -> Response:
        return Response(GIF, media_type="image/gif")

    return Starlette(
        routes=[Route("/v1/decisions", decide, methods=["POST"]), Route("/i/{token}", impression)]
    )


def _server(app: Any, settings: Settings) -> uvicorn.Server:
    """As ``serving.server_of``, with uvicorn's own protocol."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_keep_alive=75,
        )
    )


def _wait_for_end(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
