"""The Redis that keeps what people have seen while that is measured: of the benchmark's own, or another."""

import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from msgspec import Struct
from redis import Redis as Client
from redis.exceptions import RedisError

from adserver.bench.measure import processor_s

OWN: Final = "own"
"""Instead of a URL."""
PROGRAM: Final = "redis-server"
DEADLINE_MS: Final = 1000
"""Of the server that asks it: a busy machine is not to be taken for a Redis that is away."""
_HOST: Final = "127.0.0.1"
_READY_S: Final = 10.0
_AGAIN_S: Final = 0.02
_STOP_S: Final = 10.0


class Store(Struct, frozen=True):
    """``pid`` None: of another machine, or somebody else's here."""

    url: str
    pid: int | None

    def processor_s(self) -> float:
        """Which it has used; 0 where that is not known."""
        return 0.0 if self.pid is None else processor_s(self.pid)


@contextmanager
def store(folder: Path, url: str, core: int) -> Iterator[Store]:
    """``url``: of an empty database, which is emptied again, or ``OWN``: a ``redis-server`` on ``core`` and a
    free port, without a file. Raises OSError where there is none, or somebody's keys are in it."""
    if url != OWN:
        with _empty(url):
            yield Store(url, None)
        return
    with socket.create_server((_HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [
        _program(), "--bind", _HOST, "--port", str(port), "--dir", str(folder),
        "--save", "", "--appendonly", "no",
    ]  # fmt: skip
    with (folder / "redis.log").open("wb") as told:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
    os.sched_setaffinity(process.pid, {core})
    try:
        found = Store(f"redis://{_HOST}:{port}/0", process.pid)
        _wait(found.url)
        yield found
    finally:
        process.terminate()
        process.wait(_STOP_S)


def check(url: str) -> None:
    """Whether there would be one: what is wrong is not to be found out after minutes. Raises OSError."""
    if url == OWN:
        _program()
    elif url:
        with _empty(url):
            pass


def _program() -> str:
    found = shutil.which(PROGRAM)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "is not installed: install it, or give --redis-url", PROGRAM)
    return found


def _wait(url: str) -> None:
    until = monotonic() + _READY_S
    while True:
        try:
            with Client.from_url(url) as client:
                client.ping()
        except RedisError as error:
            if monotonic() > until:
                raise OSError(errno.ECONNREFUSED, "does not answer", PROGRAM) from error
            sleep(_AGAIN_S)
        else:
            return


@contextmanager
def _empty(url: str) -> Iterator[None]:
    try:
        with _client(url) as client:
            if client.dbsize():
                raise OSError(errno.ENOTEMPTY, "has keys: give an empty database", url)
            yield
            client.flushdb()
    except RedisError as error:
        raise OSError(errno.ECONNREFUSED, str(error), url) from error


def _client(url: str) -> Client:
    try:
        return Client.from_url(url)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), url) from error
