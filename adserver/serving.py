"""The HTTP server around the app: the port, uvicorn's settings, signals, and what an operator can mend."""

import faulthandler
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Final, Protocol

import msgspec
import uvicorn
from maxminddb import InvalidDatabaseError
from sqlalchemy.exc import DBAPIError

from adserver.addresses import BadList
from adserver.api.asgi import Application
from adserver.api.deadlines import Deadlines
from adserver.api.protocol import protocol
from adserver.app import App
from adserver.catalog.secrets import BadSecrets
from adserver.databases import Away, Unusable, reason
from adserver.domain import limits
from adserver.domain.changes import Conflict, Invalid, Unread
from adserver.domain.workers import ALONE, Worker
from adserver.ledger.disk import JournalBusy
from adserver.ledger.segments import Damage
from adserver.machines import enrolled
from adserver.settings import BadSettings, Settings
from adserver.telemetry import logs

_MENDABLE: Final = (
    JournalBusy, Damage, BadSecrets, BadSettings, Unusable, Unread, Invalid, Conflict, InvalidDatabaseError,
    BadList,
)  # fmt: skip

BACKLOG: Final = 2048


class Served(Protocol):
    """What a server is put around: an app, ASGI and its lifespan."""

    @property
    def asgi(self) -> Application: ...
    def stop_waiting(self) -> None:
        """Told to end before there was anything to serve."""
        ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def config_of(app: Served, settings: Settings) -> uvicorn.Config:
    """As this project needs it."""
    deadlines = Deadlines(keep_alive_ms=settings.keep_alive_seconds * 1000)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=protocol(app.asgi, deadlines),
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=limits.GRACEFUL_S,
        backlog=BACKLOG,
    )


def server_of(app: Served, settings: Settings) -> uvicorn.Server:
    """The HTTP server around an app."""
    return Server(config_of(app, settings), app)


class Server(uvicorn.Server):
    """uvicorn listens to nobody while an app starts; this one says that it was told to end. From then on its
    process has ``limits.END_S``."""

    def __init__(self, config: uvicorn.Config, app: Served) -> None:
        super().__init__(config)
        self.served = app
        self._ending = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.end()

    def end(self) -> None:
        """In order. A signal's handler may say so."""
        self.should_exit = True
        self._bound()
        self.served.stop_waiting()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._bound()
        await super().shutdown(sockets)

    def _bound(self) -> None:
        if not self._ending:
            self._ending = True
            end_within(limits.END_S)


def end_within(seconds: float) -> None:
    """Whatever this process waits for then, it ends, and says on stderr where each of its threads stands. It
    is as after a kill: what was acknowledged is in the journal."""
    faulthandler.dump_traceback_later(seconds, exit=True)


class CannotServe(Exception):
    """The server cannot start; the message says why and is for the operator. ``passes``: it may by itself."""

    def __init__(self, reason: str, passes: bool = False) -> None:
        super().__init__(reason)
        self.passes = passes


def bind(settings: Settings, shared: bool = False) -> tuple[socket.socket, Settings]:
    """Take the port before anything is opened: a port in use is found out at once, and port 0 becomes a
    number that URLs can name. ``shared``: with others that are taken so. Raises CannotServe."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise CannotServe(f"{settings.host}:{settings.port} cannot be used: {error.strerror}") from error
    return listening, msgspec.structs.replace(settings, port=listening.getsockname()[1])


@contextmanager
def mendable(settings: Settings) -> Iterator[None]:
    """Raises CannotServe for what an operator can mend."""
    try:
        yield
    except OSError as error:
        raise CannotServe(_plainly(error)) from error
    except _MENDABLE as error:
        raise CannotServe(str(error), isinstance(error, Away | Unread)) from error
    except DBAPIError as error:
        raise CannotServe(f"a database of {settings.data} cannot be used: {reason(error)}") from error


def _plainly(error: OSError) -> str:
    """Which file, and why it cannot be used."""
    if isinstance(error.filename, str | bytes | os.PathLike):
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def open_app(settings: Settings, extra: tuple[Any, ...] = (), worker: Worker = ALONE) -> App:
    """Raises CannotServe for what an operator can mend."""
    with mendable(settings):
        return App(settings, extra=extra, worker=worker)


def unfit(app: App) -> CannotServe | None:
    """Why it never began to serve, if it did not."""
    return None if app.unfit is None else CannotServe(f"the catalogue cannot be served: {app.unfit}")


def serve(settings: Settings) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Raises CannotServe."""
    logs.configure(settings.log_level)
    listening, settings = bind(settings)
    with ExitStack() as stack:
        with mendable(settings):
            mine = stack.enter_context(enrolled(settings, [""]))
        app = open_app(settings, worker=mine.worker())
        end_gracefully()
        try:
            server_of(app, settings).run(sockets=[listening])
        except SystemExit:
            # That is how uvicorn ends where the app did not start.
            reason = unfit(app)
            if reason is None:
                raise
            raise reason from app.unfit


def end_gracefully() -> None:
    """On SIGINT and SIGTERM."""
    # uvicorn ends gracefully on these and then raises them again, which would end the process by signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
