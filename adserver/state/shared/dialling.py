"""Connecting to a Redis server: the address, who we are there, and what is expected of it."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

import hiredis
from redis.asyncio.connection import parse_url

from adserver.state.shared import scripts
from adserver.state.shared.wire import Wire, Word

SHAKE_S: Final = 1.0
"""For connecting, and for each batch until all is agreed."""
_LEAST_VERSION: Final = 7


class NotRedis(Exception):
    """What answers is not a Redis that this can work with; the message is for the operator."""


class Address:
    """Of ``redis://``, ``rediss://`` (TLS) or ``unix://``. Raises ValueError for another URL."""

    def __init__(self, url: str) -> None:
        self._parts: Mapping[str, Any] = parse_url(url)
        self._tls = _tls(self._parts) if url.startswith("rediss:") else None

    async def wire(self, make: Callable[[], Wire]) -> Wire:
        """A connection, nothing said yet. Raises OSError, TimeoutError."""
        loop, parts = asyncio.get_running_loop(), self._parts
        async with asyncio.timeout(SHAKE_S):
            if "path" in parts:
                _, wire = await loop.create_unix_connection(make, parts["path"])
            else:
                host, port = parts.get("host", "localhost"), parts.get("port", 6379)
                _, wire = await loop.create_connection(make, host, port, ssl=self._tls)
        return wire

    def greeting(self) -> list[list[Word]]:
        """What is said first."""
        said: list[list[Word]] = []
        name, password = self._parts.get("username"), self._parts.get("password")
        if password is not None:
            said.append([b"AUTH", *([name] if name else []), password])
        if self._parts.get("db"):
            said.append([b"SELECT", self._parts["db"]])
        return said


async def meet(wire: Wire, address: Address) -> str:
    """Say who we are, give it the scripts, and hear its run. Raises Away, NotRedis."""
    said: list[list[Word]] = [*address.greeting(), [b"CLIENT", b"SETNAME", b"adserver"]]
    said += ([b"SCRIPT", b"LOAD", script.source] for script in scripts.everyone())
    *replies, told = await asyncio.gather(*(wire.ask(words) for words in said), wire.ask([b"INFO"]))
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise NotRedis(str(reply))
    if isinstance(told, hiredis.ReplyError):
        raise NotRedis(str(told))
    found = dict(line.split(":", 1) for line in bytes(told).decode().splitlines() if ":" in line)
    if int(found["redis_version"].split(".")[0]) < _LEAST_VERSION:
        raise NotRedis(f"Redis {found['redis_version']} is too old: 7 or newer is needed")
    if found["maxmemory_policy"] != "noeviction" and found["maxmemory"] != "0":
        raise NotRedis(
            f"maxmemory-policy {found['maxmemory_policy']} forgets people's counters: set noeviction"
        )
    if found["role"] != "master":
        raise NotRedis("it is a replica")
    return f"{found['run_id']} {found['master_replid']}"


def _tls(parts: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=parts.get("ssl_ca_certs"))
    if parts.get("ssl_certfile"):
        context.load_cert_chain(parts["ssl_certfile"], parts.get("ssl_keyfile"))
    return context
