"""Asking and killing a real server: what the fault tests of the laws share.

Asynchronous, so that many requests are truly in flight; connections are kept alive. A request whose answer
did not come (the server was killed) is *unknown*: it may or may not have happened.
"""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from live import BROWSER, written


class Lost(Exception):
    """No answer: the server died, or is not there."""


class Asker:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body). Raises Lost."""
        if path.startswith("http"):
            path = urlsplit(path).path
        sent = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: test\r\nuser-agent: {BROWSER}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n"
        )
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(head.encode() + sent)
            return await self._read(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise Lost from error

    async def _read(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        # Values of headers are compared in lower case here; tokens never come in headers.
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return int(lines[0].split()[1]), headers, body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def world(folder: Path, *documents: tuple[str, dict[str, Any]]) -> Path:
    """A campaign folder from (path, document)."""
    return written(folder, dict(documents))


def publisher(**more: Any) -> tuple[str, dict[str, Any]]:
    document = {
        "publisher": "meadow",
        "currency": "EUR",
        "timezone": "UTC",
        "consent_default": "granted",
        "placements": [
            {"id": "page", "surface": "page", "formats": ["image"]},
            {"id": "feed", "surface": "feed", "formats": ["image"], "feed": {"max_share": "0.06"}},
        ],
        **more,
    }
    return "publishers/meadow.json", document


def campaign(name: str, line_items: Iterable[dict[str, Any]], **more: Any) -> tuple[str, dict[str, Any]]:
    document = {
        "advertiser": "brook",
        "campaign": name,
        "currency": "EUR",
        "timezone": "UTC",
        "line_items": [line_item(**item) for item in line_items],
        **more,
    }
    return f"brook/{name}.json", document


def line_item(**more: Any) -> dict[str, Any]:
    return {
        "priority": "auction",
        "pricing": {"model": "cpm", "amount": "5.00"},
        "creatives": [
            {
                "id": f"{more['id']}-one",
                "format": "image",
                "size": "300x250",
                "advertiser_domain": "brook.example",
                "categories": ["IAB20"],
                "assets": {"image_url": "https://brook.example/one.png", "alt": "Brook"},
                "landing_url": "https://brook.example/?c={click_id}",
            }
        ],
        **more,
    }


def request(user: str | None, placement: str = "page", **more: Any) -> dict[str, Any]:
    return {"placements": [{"id": placement, **more}], "user": {"id": user}, "session": f"s-{user}"}
