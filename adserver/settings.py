"""Settings: each from its default, one TOML file, the environment (``ADSERVER_*``) and flags; the later
wins. Every problem is reported at once, with where the value came from.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from msgspec import Struct

from adserver import hosts
from adserver.domain import limits
from adserver.hosts import as_text

PREFIX: Final = "ADSERVER_"
Rate = tuple[int, int]
LogLevel = Literal["debug", "info", "warning", "error"]
OnDoubt = Literal["stop", "serve"]


class Settings(Struct, frozen=True):
    """``campaigns``: a folder applied at start; ``data``: where catalog, journal and secrets are kept;
    ``port`` 0: any free one; ``public_url`` (without a slash at its end): what URLs are built from, empty:
    made of host and port; ``trusted_proxies``: networks whose ``x-forwarded-for`` counts; ``geoip``: a
    MaxMind file; ``segment_bytes``: the size of a journal segment; ``keep_alive_seconds``: how long a
    connection may be idle between requests. Behind a proxy it must be longer than the proxy keeps its
    own, which otherwise sends a request into a connection that is just being closed. ``report_people``: rows
    of reports that could point at a person are withheld where they are about fewer (0: never);
    ``people_days``: for how long the ledger knows who saw an impression.

    Invalid traffic: ``data_centres``, a file of networks, one a line; ``rate_per_user``, ``rate_per_address``
    and ``rate_per_placement``: impressions and clicks a minute above which they are filtered, 0: no limit;
    ``fastest_click_ms``: a click sooner after its impression is no person's. Where the defaults are from:
    docs/ARCHITECTURE.md, "Invalid traffic".

    ``redis``: where what people have seen is kept, empty: in this process; ``redis_deadline_ms``: how long a
    decision waits for it; ``on_state_doubt``: after it has lost what it knew, until every worker has told it
    again, nothing capped is served, or what caps allow by what is known then; ``workers``: serving processes
    of this data folder, several only with a Redis;
    ``database``: of PostgreSQL, where catalog and ledger are kept; empty: in files of ``data``; ``errands``:
    where servers of other data folders that share redis and database bring events, HOST:PORT of the first
    worker (those of the others follow); empty: there are no others."""

    campaigns: Path | None = None
    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    log_level: LogLevel = "info"
    geoip: Path | None = None
    segment_bytes: int = 64 * 1024 * 1024
    keep_alive_seconds: int = 75
    data_centres: Path | None = None
    rate_per_user: Rate = (240, 24)
    rate_per_address: Rate = (2400, 240)
    rate_per_placement: Rate = (0, 6000)
    fastest_click_ms: int = 100
    report_people: int = 50
    people_days: int = limits.PEOPLE_DAYS
    workers: int = 1
    redis: str = ""
    redis_deadline_ms: int = 25
    on_state_doubt: OnDoubt = "stop"
    database: str = ""
    errands: str = ""

    @property
    def base_url(self) -> str:
        """What URLs are built from, without a slash at its end: never the Host header."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class BadSettings(Exception):
    """One line for each setting that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


def load(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """``flags``: name -> value, None where not given; ``config`` names the TOML file. Raises BadSettings."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    config = flags.get("config") or environ.get(f"{PREFIX}CONFIG")
    if config:
        _take(values, _from_file(Path(str(config)), problems), problems)
    _take(values, _from_environ(environ, problems), problems)
    given = {name: value for name, value in flags.items() if value is not None and name != "config"}
    _take(values, {name: (value, f"--{name.replace('_', '-')}") for name, value in given.items()}, problems)
    if values.get("workers", 1) > 1 and not values.get("redis"):
        problems.append(
            "workers: several can only know together what people have seen; name a redis for that"
        )
    if values.get("errands") and not (values.get("redis") and values.get("database")):
        problems.append("errands: servers of several data folders share a redis and a database; name both")
    if problems:
        raise BadSettings(problems)
    return Settings(**values)


_Found = Mapping[str, tuple[object, str]]
"""Name -> value and where it was found."""


def _from_file(path: Path, problems: list[str]) -> _Found:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"config: {path} cannot be read: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"config: {path} is not TOML: {error}")
        return {}
    found = {}
    for name, value in table.items():
        if name in _READERS:
            found[name] = (value, f"in {path}")
        else:
            problems.append(f"{name} (in {path}): unknown setting{_meant(name)}")
    return found


def _from_environ(environ: Mapping[str, str], problems: list[str]) -> _Found:
    """Unknown variables are passed over, for others use the prefix too (Kubernetes names its services so),
    unless one looks like a misspelt setting."""
    found: dict[str, tuple[object, str]] = {}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name == "config":
            continue
        if name in _READERS:
            found[name] = (value, f"in {variable}")
        elif _close(name, 0.8):
            problems.append(f"{variable}: unknown setting{_meant(name)}")
    return found


def _close(name: str, cutoff: float) -> list[str]:
    return get_close_matches(name, _READERS, n=1, cutoff=cutoff)


def _meant(name: str) -> str:
    close = _close(name, 0.6)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(_READERS)}"


def _take(values: dict[str, Any], found: _Found, problems: list[str]) -> None:
    for name, (value, where) in found.items():
        try:
            values[name] = _READERS[name](value)
            if where == "--database":
                _check_told_openly(values[name])
        except ValueError as error:
            problems.append(f"{name} ({where}): {error}")


# -- one reader a setting ------------------------------------------------------------------------


def _path(value: object) -> Path:
    return Path(as_text(value))


def _whole(value: object, least: int, most: int) -> int:
    text = value if isinstance(value, str) else str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise ValueError(f"is {value!r}; it is a whole number from {least} to {most}")
    number = int(text)
    if not least <= number <= most:
        raise ValueError(f"is {number}; it is from {least} to {most}")
    return number


def _networks(value: object) -> tuple[str, ...]:
    """A list, or text with commas between; in flags also repeated."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        raise ValueError(f"is {value!r}; it is a list of networks such as 10.0.0.0/8")
    texts = [part.strip() for item in listed for part in as_text(item).split(",") if part.strip()]
    for text in texts:
        try:
            ip_network(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is not a network such as 10.0.0.0/8 ({error})") from error
    return tuple(texts)


def _rate(value: object) -> Rate:
    """Impressions and clicks a minute."""
    text = str(value)
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text, re.ASCII)
    if found is None:
        raise ValueError(
            f"is {value!r}; it is impressions and clicks a minute such as 240/24, 0 for no limit"
        )
    return int(found[1]), int(found[2])


def _log_level(value: object) -> LogLevel:
    text = as_text(value).lower()
    if text not in ("debug", "info", "warning", "error"):
        raise ValueError(f"is {text!r}; it is debug, info, warning or error")
    return cast(LogLevel, text)


def _on_doubt(value: object) -> OnDoubt:
    text = as_text(value)
    if text not in ("stop", "serve"):
        raise ValueError(f"is {text!r}; it is stop or serve")
    return cast(OnDoubt, text)


def _redis(value: object) -> str:
    text = as_text(value)
    if urlsplit(text).scheme not in ("redis", "rediss", "unix", "rediscluster", "redisclusters"):
        raise ValueError(
            "is not the URL of a Redis: redis://HOST:PORT/DB, rediss:// or unix://PATH, "
            "nor of a cluster: rediscluster://HOST:PORT,HOST:PORT or redisclusters://"
        )
    return text


def _database(value: object) -> str:
    """Not repeated where it is wrong: it may hold a password."""
    text = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("postgresql", "postgres") and bool(parts.path.strip("/"))
    except ValueError:
        sound = False
    if not sound or "\0" in text:
        raise ValueError("is not the URL of a database in PostgreSQL: postgresql://USER@HOST:PORT/NAME")
    return text


def _check_told_openly(url: str) -> None:
    parts = urlsplit(url)
    if parts.password is not None or "password" in parts.query.lower():
        raise ValueError(
            "has a password, which everybody on this machine can read on a command line: give it in "
            "ADSERVER_DATABASE, in the TOML file, or where PostgreSQL's own clients look (PGPASSFILE)"
        )


_READERS: Final[dict[str, Callable[[object], object]]] = {
    "campaigns": _path,
    "data": _path,
    "host": hosts.host,
    "port": lambda value: _whole(value, 0, 65535),
    "public_url": hosts.public_url,
    "trusted_proxies": _networks,
    "log_level": _log_level,
    "geoip": _path,
    "segment_bytes": lambda value: _whole(value, 64 * 1024, 4 * 1024**3),
    "keep_alive_seconds": lambda value: _whole(value, 1, 3600),
    "data_centres": _path,
    "rate_per_user": _rate,
    "rate_per_address": _rate,
    "rate_per_placement": _rate,
    "fastest_click_ms": lambda value: _whole(value, 0, limits.FASTEST_CLICK_MS_MAX),
    "people_days": lambda value: _whole(value, 1, 3660),
    "report_people": lambda value: _whole(value, 0, 1_000_000),
    "workers": lambda value: _whole(value, 1, limits.WORKERS_MAX),
    "redis": _redis,
    "database": _database,
    "on_state_doubt": _on_doubt,
    "errands": hosts.errands,
    "redis_deadline_ms": lambda value: _whole(value, 1, 1000),
}
