"""The demo's own pages, beside the server's: the feed to look at, its artwork, why an ad, live numbers."""

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from adserver.demo.people import people
from adserver.demo.tally import spend

if TYPE_CHECKING:
    from adserver.demo.serving import DemoApp

_ASSETS: Final = Path(__file__).with_name("assets")
_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'"
)
"""Everything the page needs comes from this server; creatives of format html stand in a sandboxed frame."""

Handler = Callable[[Request], Awaitable[Response]]


def routes(app: "DemoApp", campaigns: Path) -> tuple[BaseRoute, ...]:
    """``app`` is only looked at when a request comes."""
    artwork = campaigns / "artwork"
    return (
        Route("/", _home),
        Route("/demo", _file("page.html")),
        Route("/demo/page.css", _file("page.css")),
        Route("/demo/{name}.js", _script),
        Route("/demo/people", _people(app)),
        Route("/demo/numbers", _numbers(app)),
        Route("/demo/why/{event_id}", _why(app)),
        Route("/artwork/{name}", _artwork(artwork)),
    )


async def _home(request: Request) -> Response:
    return Response(status_code=307, headers={"location": "/demo"})


def _file(name: str) -> Handler:
    async def answer(request: Request) -> Response:
        return _asset(name)

    return answer


async def _script(request: Request) -> Response:
    name = f"{request.path_params['name']}.js"
    return _asset(name) if name in _scripts() else _nothing()


@cache
def _scripts() -> frozenset[str]:
    return frozenset(path.name for path in _ASSETS.glob("*.js"))


def _asset(name: str) -> Response:
    media_type = _TYPES[name.rpartition(".")[2]]
    headers = {"cache-control": "no-cache", "content-security-policy": _POLICY}
    return Response((_ASSETS / name).read_bytes(), 200, headers, f"{media_type}; charset=utf-8")


def _artwork(folder: Path) -> Handler:
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in names:
            return _nothing()
        media_type = _TYPES.get(name.rpartition(".")[2])
        return FileResponse(folder / name, headers={"cache-control": "max-age=3600"}, media_type=media_type)

    return answer


def _people(app: "DemoApp") -> Handler:
    async def answer(request: Request) -> Response:
        return _json(people(app.world.snapshot, app.names.person))

    return answer


def _numbers(app: "DemoApp") -> Handler:
    async def answer(request: Request) -> Response:
        return _json({**app.tally.told(), "spend": spend(app.world.snapshot, app.states.budgets)})

    return answer


def _why(app: "DemoApp") -> Handler:
    async def answer(request: Request) -> Response:
        told = app.reasons.why(request.path_params["event_id"], app.kept)
        return _nothing() if told is None else _json(told)

    return answer


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), 200, {"cache-control": "no-store"}, "application/json")


def _nothing() -> Response:
    return Response(b"not found\n", 404, media_type="text/plain")
