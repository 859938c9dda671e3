"""Macros in landing URLs, trackers and html (API.md section 5): percent-encoded, the known ones only."""

import re
from typing import Final
from urllib.parse import quote

from msgspec import Struct

NAMES: Final = (
    "click_id", "event_id", "cachebuster", "timestamp", "click_url", "click_url_enc", "publisher",
    "placement", "campaign", "line_item", "creative", "gdpr", "consent_tcf",
)  # fmt: skip

_MACRO: Final = re.compile(r"\{(" + "|".join(NAMES) + r")\}")


class MacroValues(Struct, frozen=True):
    """``click_id`` is the event id: what a conversion names later. ``cachebuster`` is its last part, so
    that the same decision renders the same bytes."""

    event_id: str
    timestamp_ms: int
    publisher: str
    placement: str
    campaign: str
    line_item: str
    creative: str
    click_url: str = ""
    gdpr: str = ""
    consent_tcf: str = ""

    def of(self, name: str) -> str:
        if name == "click_url":
            return self.click_url
        if name == "click_url_enc":
            return quote(self.click_url, safe="")
        if name == "click_id":
            return self.event_id
        if name == "cachebuster":
            return self.event_id[-13:]
        if name == "timestamp":
            return str(self.timestamp_ms // 1000)
        value: str = getattr(self, name)
        return quote(value, safe="")


def expand(text: str, values: MacroValues) -> str:
    """The text with its macros filled in."""
    if "{" not in text:
        return text
    return _MACRO.sub(lambda match: values.of(match.group(1)), text)


def cut(encoded: bytes) -> list[bytes | str]:
    """UTF-8 text cut at its macros: bytes, and between them the names."""
    if b"{" not in encoded:
        return [encoded]
    parts = _MACRO.split(encoded.decode())
    return [part if number % 2 else part.encode() for number, part in enumerate(parts)]
