"""The scripts, as Redis is given them (``load``). Each says in its head what it is told."""

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final

from msgspec import Struct

_PARTS: Final = {
    "look": ("person", "known", "look"),
    "admit": ("person", "known", "admit"),
    "settle": ("person", "settle"),
    "add": ("person", "add"),
    "touch": ("touch",),
    "page": ("page",),
    "unsay": ("unsay",),
    "unanswer": ("unanswer",),
    "begin": ("begin",),
    "live": ("live",),
}

_HEAD: Final = b"#!lua\n"
"""With it a script is refused whole where Redis has no room or is a replica, not at its first write."""


class Script(Struct, frozen=True):
    """``sha``: by which Redis knows it (EVALSHA), once it was loaded."""

    source: bytes
    sha: bytes


@cache
def load(name: str) -> Script:
    folder = files(__name__)
    source = _HEAD + b"\n".join(folder.joinpath(f"{part}.lua").read_bytes() for part in _PARTS[name])
    return Script(source, sha1(source, usedforsecurity=False).hexdigest().encode())


def everyone() -> list[Script]:
    return [load(name) for name in _PARTS]
