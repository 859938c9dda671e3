"""What a user agent tells: is it a known crawler, and roughly which device, system and browser.

The crawler list is the ``crawler-user-agents`` package's; matching is slow (a few hundred patterns), so
answers are remembered. Device facts are deliberately coarse: a publisher who knows better says so.
"""

import re
from functools import lru_cache
from typing import Final

import crawleruseragents
from msgspec import Struct

_SYSTEMS: Final = (
    ("ios", re.compile(r"iPhone|iPad|iPod")),
    ("android", re.compile(r"Android")),
    ("windows", re.compile(r"Windows NT")),
    ("macos", re.compile(r"Macintosh|Mac OS X")),
    ("chromeos", re.compile(r"CrOS")),
    ("linux", re.compile(r"Linux|X11")),
)
_BROWSERS: Final = (
    ("edge", re.compile(r"Edg[A-Za-z]*/")),
    ("opera", re.compile(r"OPR/|Opera")),
    ("samsung", re.compile(r"SamsungBrowser/")),
    ("firefox", re.compile(r"Firefox/|FxiOS/")),
    ("chrome", re.compile(r"Chrome/|CriOS/")),
    ("safari", re.compile(r"Safari/")),
)
_TV: Final = re.compile(r"TV|BRAVIA|Roku|AFT[A-Z]|Tizen.*SMART", re.IGNORECASE)
_TABLET: Final = re.compile(r"iPad|Tablet|Android(?!.*Mobile)")
_MOBILE: Final = re.compile(r"Mobile|iPhone|iPod|Android")


class Agent(Struct, frozen=True):
    """Empty where nothing is known."""

    device: str = ""
    os: str = ""
    browser: str = ""


_LIBRARY: Final = {"http-library"}


@lru_cache(maxsize=20_000)
def is_crawler(user_agent: str) -> bool:
    """A declared robot. The list also names HTTP libraries, which are no robots by themselves: apps and
    publishers' servers use them, and whoever else does is told by not being a browser."""
    if not crawleruseragents.is_crawler(user_agent):
        return False
    listed = crawleruseragents.CRAWLER_USER_AGENTS_DATA
    found = crawleruseragents.matching_crawlers(user_agent)
    return any(set(listed[number].get("tags") or ()) != _LIBRARY for number in found)


@lru_cache(maxsize=20_000)
def agent_of(user_agent: str) -> Agent:
    if not user_agent.startswith("Mozilla/"):
        return Agent()
    return Agent(_device(user_agent), _first(_SYSTEMS, user_agent), _first(_BROWSERS, user_agent))


def _device(user_agent: str) -> str:
    for name, pattern in (("tv", _TV), ("tablet", _TABLET), ("mobile", _MOBILE)):
        if pattern.search(user_agent):
            return name
    return "desktop"


def _first(named: tuple[tuple[str, re.Pattern[str]], ...], user_agent: str) -> str:
    return next((name for name, pattern in named if pattern.search(user_agent)), "")
