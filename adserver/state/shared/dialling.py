"""Connecting to a Redis server: the address, who we are there, and what is expected of it."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import hiredis
from msgspec import Struct
from redis.asyncio.connection import parse_url

from adserver.state.shared import scripts
from adserver.state.shared.chart import Member, members
from adserver.state.shared.wire import Wire, Word

SHAKE_S: Final = 1.0
"""For connecting, and for each batch until all is agreed."""
_LEAST_VERSION: Final = 7
_PORT: Final = 6379
_CLUSTERS: Final = {"rediscluster": "redis", "redisclusters": "rediss"}
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHART: Final[list[Word]] = [b"CLUSTER", b"NODES"]
_ALONE: Final = "it is not of a cluster: name it redis://"
_CLUSTERED: Final = "it is of a cluster: name it rediscluster://"


class NotRedis(Exception):
    """What answers is not a Redis that this can work with; the message is for the operator."""


class Met(Struct, frozen=True):
    """``run``: of the server's process and of its data; ``chart``: what it says of its cluster; empty where
    it is alone."""

    run: str
    chart: list[Member]


class Address:
    """Of ``redis://``, ``rediss://`` (TLS) or ``unix://``, with options as redis-py spells them. Raises
    ValueError for another URL, and for what it does not mean here."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        known = _TLS_FILES if parts.scheme == "rediss" else ()
        for name in parse_qs(parts.query, keep_blank_values=True):
            if name not in (*known, "db"):
                told = f"known are {', '.join(known)}" if known else "files of TLS are of rediss://"
                raise ValueError(f"{name} is no option of it; {told}")
        database = parts.path.strip("/")
        if parts.scheme != "unix" and database and not database.isdecimal():
            raise ValueError(f"its database is a number, not {database}")
        self._parts: Mapping[str, Any] = parse_url(url)
        self._tls = _tls(self._parts) if parts.scheme == "rediss" else None

    def __str__(self) -> str:
        return self._parts.get("path") or f"{self.host}:{self._parts.get('port', _PORT)}"

    @property
    def host(self) -> str:
        return str(self._parts.get("host", "localhost"))

    def at(self, host: str, port: int) -> "Address":
        """Another server, to which we are the same."""
        found = copy(self)
        found._parts = {**self._parts, "host": host, "port": port}
        return found

    async def wire(self, make: Callable[[], Wire]) -> Wire:
        """A connection, nothing said yet. Raises OSError, TimeoutError."""
        loop, parts = asyncio.get_running_loop(), self._parts
        async with asyncio.timeout(SHAKE_S):
            if "path" in parts:
                _, wire = await loop.create_unix_connection(make, parts["path"])
            else:
                port = parts.get("port", _PORT)
                _, wire = await loop.create_connection(make, self.host, port, ssl=self._tls)
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


def seeds(url: str) -> list[Address]:
    """The members named in ``rediscluster://NAME:PASSWORD@HOST:PORT,HOST:PORT`` or, with TLS,
    ``redisclusters://``; none in another URL. Raises ValueError for one that cannot be."""
    parts = urlsplit(url)
    if parts.scheme not in _CLUSTERS:
        return []
    if parts.path.strip("/"):
        raise ValueError("a Redis Cluster has one database")
    who, at, hosts = parts.netloc.rpartition("@")
    rest = f"?{parts.query}" if parts.query else ""
    return [Address(f"{_CLUSTERS[parts.scheme]}://{who}{at}{host}{rest}") for host in hosts.split(",")]


async def meet(wire: Wire, address: Address, clustered: bool = False) -> Met:
    """Say who we are, give it the scripts, and hear its run. Raises Away, NotRedis."""
    said: list[list[Word]] = [*address.greeting(), [b"CLIENT", b"SETNAME", b"adserver"]]
    said += ([b"SCRIPT", b"LOAD", script.source] for script in scripts.everyone())
    *_, told = await _all(wire, [*said, [b"INFO"]])
    found = dict(line.split(":", 1) for line in bytes(told).decode().splitlines() if ":" in line)
    if int(found["redis_version"].split(".")[0]) < _LEAST_VERSION:
        raise NotRedis(f"Redis {found['redis_version']} is too old: 7 or newer is needed")
    if found["maxmemory_policy"] != "noeviction" and found["maxmemory"] != "0":
        raise NotRedis(
            f"maxmemory-policy {found['maxmemory_policy']} forgets people's counters: set noeviction"
        )
    if found["role"] != "master":
        raise NotRedis("it is a replica")
    if clustered is not (found["cluster_enabled"] == "1"):
        raise NotRedis(_ALONE if clustered else _CLUSTERED)
    chart = _chart(await _all(wire, [_CHART]), address) if clustered else []
    return Met(f"{found['run_id']} {found['master_replid']}", chart)


async def charted(address: Address) -> list[Member]:
    """What a member of a cluster says of it. Raises Away, NotRedis, OSError, TimeoutError."""

    def lost(why: str) -> None: ...

    wire = await address.wire(lambda: Wire(SHAKE_S, lost))
    try:
        return _chart(await _all(wire, [*address.greeting(), _CHART]), address)
    finally:
        wire.close()


def _chart(replies: list[Any], address: Address) -> list[Member]:
    """The last of them."""
    try:
        return members(bytes(replies[-1]).decode(), address.host)
    except ValueError as error:
        raise NotRedis(f"its chart of the cluster cannot be read: {error}") from error


async def _all(wire: Wire, said: list[list[Word]]) -> list[Any]:
    """The replies. Raises Away, NotRedis."""
    replies: list[Any] = await asyncio.gather(*(wire.ask(words) for words in said))
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise NotRedis(str(reply))
    return replies


def _tls(parts: Mapping[str, Any]) -> ssl.SSLContext:
    """By the system's authorities, or one's own. Raises ValueError for files that are none."""
    authority, certificate, key = (parts.get(name) for name in _TLS_FILES)
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise ValueError(f"{authority} holds no certificates: {error.strerror or error}") from error
    try:
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        files = f"{certificate} and {key or 'no other file'}"
        raise ValueError(f"{files} are no certificate and its key: {error.strerror or error}") from error
    return context
