"""What a request for ASGI is given: its scope, and a transport that belongs to the queue."""

import asyncio
from collections.abc import Callable
from typing import cast

from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from adserver.api import framing
from adserver.api.reading import Reading
from adserver.api.turn import Turn


class Outlet:
    """Writes through; ending the connection is left to the protocol, which knows what is still coming."""

    def __init__(self, connection: Reading) -> None:
        self._connection = connection

    def write(self, octets: bytes) -> None:
        if not self._connection.ended:
            self._connection.transport.write(octets)

    def close(self) -> None:
        self._connection.end()

    def is_closing(self) -> bool:
        return self._connection.ended or self._connection.transport.is_closing()


def cycle_of(
    connection: Reading, turn: Turn, version: str, answered: Callable[[], None]
) -> RequestResponseCycle:
    """uvicorn's half of an ASGI request, not started yet. Raises Refusal."""
    return RequestResponseCycle(
        scope=_scope(connection, turn, version),
        transport=cast(asyncio.Transport, Outlet(connection)),
        flow=connection.flow,
        logger=connection.logger,
        access_logger=connection.access_logger,
        access_log=connection.access_log,
        default_headers=connection.server_state.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=turn.expects,
        keep_alive=turn.keep_alive,
        on_response=answered,
    )


def _scope(connection: Reading, turn: Turn, version: str) -> HTTPScope:
    head, root = turn.head, connection.root_path
    path = head.path.encode("latin-1")
    return {
        "type": "http",
        "asgi": {"version": connection.asgi_version, "spec_version": "2.3"},
        "http_version": version,
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme or "http",
        "method": head.method,
        "root_path": root,
        "path": root + framing.decoded(path),
        "raw_path": root.encode("ascii") + path,
        "query_string": head.query,
        "headers": head.headers,
        "state": connection.app_state.copy(),
    }
