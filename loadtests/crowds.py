"""A crowd for one person at a time: as many decisions at once as connections, over all workers, while some
are killed; and what everybody got, counted.

``python -m loadtests.crowds --people 100 --at-once 1000 --workers 4 --kills 10 [--database URL]``: starts a
Redis and the workers on it (``--redis``: in that one). For each person all connections ask in the same
moment, for a page and for the first page of a feed; the ads of what is capped or short of money are shown.
At every tenth part of the way a worker is killed in the middle of such a moment. Prints and checks:

* caps: exactly as many ads of the capped line item as its cap, for each person whose moment nobody was killed
  in (whose answers may have died with him), and never one more for the others;
* feeds: one answer for a page, whoever asked; the sponsored share and the distance between ads by the audit;
* budgets: never above, by the audit, which reads every worker's journal.

Exit code 1 if any of it does not hold. Connections wait for their answers, so nothing is asked faster than it
is answered; what was refused for the load (``overloaded``) is asked again.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from msgspec import Struct, field

from adserver.bench import stores
from loadtests.server import HOST, Server

CAP: Final = 3
_BUDGET: Final = 200
"""Impressions that what is short of money can pay."""
_AGENT: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
)
_SHOWN: Final = {"capped", "short"}
_AGAIN: Final = {"overloaded"}
_REDIS_DEADLINE_MS: Final = "1000"
"""A thousand at once keep a store busy for longer than one decision may wait for it elsewhere."""
_WAIT_S: Final = 60.0


class Got(Struct):
    """What a person's moment came to."""

    ads: dict[str, set[str]] = field(default_factory=dict)
    """Line item -> event ids."""
    pages: Counter[bytes] = field(default_factory=Counter)
    answers: int = 0
    lost: int = 0
    again: int = 0
    unknown: int = 0
    """Answers without what is capped, because it was not known what the person had seen."""

    def take(self, answer: dict[str, Any]) -> None:
        self.answers += 1
        page, feed = answer["decisions"]
        for ad in (*page["ads"], *feed["ads"]):
            self.ads.setdefault(ad["line_item"], set()).add(ad["event_id"])
        if feed["no_fill"] == "state_unavailable":
            self.unknown += 1
        else:
            self.pages[json.dumps([(ad["event_id"], ad.get("position")) for ad in feed["ads"]]).encode()] += 1


def differences(got: Got, dies: bool) -> list[str]:
    """``dies``: a worker did meanwhile, and with it answers: fewer ads may have arrived, and a page whose
    answer nobody had may be made anew."""
    wrong = []
    capped = len(got.ads.get("capped", ()))
    if capped > CAP or (capped < CAP and not dies):
        wrong.append(f"{capped} of what is capped at {CAP}")
    if len(got.pages) > 1 and not dies:
        wrong.append(f"{len(got.pages)} different first pages of a feed")
    if not got.answers:
        wrong.append("no answer at all")
    return wrong


class Line:
    """A connection, opened anew when it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        if self._open is None:
            self._open = await asyncio.open_connection(HOST, self._port)

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of the answer. Raises OSError, EOFError."""
        try:
            await self.open()
            assert self._open is not None
            reader, writer = self._open
            head = (
                f"{method} {path} HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: {_AGENT}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            told = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(told.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            content = await reader.readexactly(size)
        except (OSError, EOFError):
            self.close()
            raise
        if b"\r\nconnection: close" in told:
            self.close()
        return content

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


async def moment(lines: list[Line], person: int, kill: int | None) -> Got:
    """All at once for one person; ``kill``: who dies meanwhile."""
    got = Got()
    body = json.dumps(_request(person)).encode()

    async def one(line: Line) -> None:
        while True:
            try:
                answer = json.loads(await line.ask("POST", "/v1/decisions", body))
            except (OSError, EOFError):
                got.lost += 1
                return
            if all(slot["no_fill"] not in _AGAIN for slot in answer["decisions"]):
                break
            got.again += 1
        got.take(answer)
        for slot in answer["decisions"]:
            for ad in slot["ads"]:
                if ad["line_item"] in _SHOWN:
                    await _show(line, ad["impression_url"])

    asked = [asyncio.ensure_future(one(line)) for line in lines]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    if kill is not None:
        os.kill(kill, signal.SIGKILL)
    await asyncio.gather(*asked)
    return got


async def _show(line: Line, url: str) -> None:
    try:
        await line.ask("GET", "/" + url.split("/", 3)[3])
    except (OSError, EOFError):
        pass  # what was not shown is billed to nobody, and its place in the cap is free again in a minute


def _request(person: int) -> dict[str, Any]:
    feed = {"id": "main", "page": 0, "organic_count": 40}
    placements = [{"id": "page"}, {"id": "feed", "feed": feed}]
    return {"placements": placements, "user": {"id": f"u-{person}"}, "session": f"s-{person}"}


async def crowds(server: Server, people: int, at_once: int, kills: int) -> list[str]:
    """What did not hold."""
    lines = [Line(server.port) for _ in range(at_once)]
    wrong: list[str] = []
    total = Counter[str]()
    began = time.monotonic()
    for person in range(people):
        dies = bool(kills) and person % max(1, people // kills) == people // kills // 2
        for line in lines:
            await line.open()
        got = await moment(lines, person, _workers(server)[0] if dies else None)
        wrong += [f"person {person} got {what}" for what in differences(got, dies)]
        for name in ("answers", "lost", "again", "unknown"):
            total[name] += getattr(got, name)
        total["killed"] += dies
        if dies:
            await _known(server)
    took = time.monotonic() - began
    for line in lines:
        line.close()
    told = ", ".join(f"{total[name]:,} {name}" for name in ("answers", "lost", "again", "unknown", "killed"))
    print(f"{people} people, {at_once} at once: {told}; {total['answers'] / took:,.0f} answers/s")
    return wrong


async def _known(server: Server) -> None:
    """Until all workers know what people have seen, again."""
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        try:
            if "adserver_state_known 1.0" in str(server.call("GET", "/metrics")[1]):
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise TimeoutError("it is not known again what people have seen")


def _workers(server: Server) -> list[int]:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [
        pid for pid in map(int, children) if b"workers.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def world(folder: Path) -> Path:
    """The campaigns: one capped, one short of money, one for the feed, one for what is left."""
    placements = [
        {"id": "page", "surface": "page", "formats": ["image"]},
        {"id": "feed", "surface": "feed", "formats": ["image"], "feed": {"max_share": "0.06"}},
    ]
    publisher = {
        "publisher": "meadow", "currency": "EUR", "timezone": "UTC", "consent_default": "granted",
        "placements": placements,
    }  # fmt: skip
    only = {"placements": {"any": ["meadow/page"]}}
    items = [
        _line_item("capped", "20.00", frequency_caps=[{"limit": CAP, "per": "1d"}], targeting=only),
        _line_item("short", "10.00", budget={"lifetime": f"{_BUDGET / 100:.2f}"}, targeting=only),
        _line_item("rest", "1.00"),
    ]
    documents = {"publishers/meadow.json": publisher}
    for item in items:
        documents[f"brook-{item['id']}/{item['id']}.json"] = {
            "advertiser": f"brook-{item['id']}", "campaign": item["id"], "currency": "EUR", "timezone": "UTC",
            "line_items": [item],
        }  # fmt: skip
    for name, document in documents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    return folder


def _line_item(name: str, cpm: str, **more: Any) -> dict[str, Any]:
    creative = {
        "id": f"{name}-one", "format": "image", "size": "300x250", "categories": ["IAB20"],
        "advertiser_domain": f"{name}.example", "landing_url": f"https://{name}.example/",
        "assets": {"image_url": f"https://{name}.example/one.png", "alt": name},
    }  # fmt: skip
    pricing = {"model": "cpm", "amount": cpm}
    return {"id": name, "priority": "auction", "pricing": pricing, "creatives": [creative], **more}


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.crowds", description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--redis", default=stores.OWN, help="the URL of an empty one (default: its own)")
    parser.add_argument("--database", default="", help="catalog and ledger in this PostgreSQL, empty too")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="adserver-crowds-") as folder:
        wrong = run(Path(folder), asked)
    for line in wrong:
        print(line)
    print(f"{len(wrong)} differences")
    sys.exit(1 if wrong else 0)


def run(work: Path, asked: argparse.Namespace) -> list[str]:
    with stores.store(work, asked.redis, core=(os.cpu_count() or 1) - 1) as store:
        flags = ["--workers", str(asked.workers), "--redis", store.url]
        flags += ["--redis-deadline-ms", _REDIS_DEADLINE_MS]
        where = ["--database", asked.database] if asked.database else []
        with Server(work, world(work / "world"), flags=[*flags, *where], ready_s=_WAIT_S) as server:
            asyncio.run(_known(server))
            wrong = asyncio.run(crowds(server, asked.people, asked.at_once, asked.kills))
            server.stop()
        audit = server.adserver("verify", "--data", str(server.data), *where)
        print(audit.stdout.strip())
        return wrong if audit.returncode == 0 else [*wrong, "the audit found differences"]


if __name__ == "__main__":
    main()
