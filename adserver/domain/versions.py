"""Versions of operating systems, and ranges of them.

A version is numbers with dots between, compared number by number; missing ones are zeros, so 17 equals 17.0.
What a line item writes is a range [first, end) of versions:

    17        every 17.x                 [17, 18)
    17.2      every 17.2.x               [17.2, 17.3)
    >=16.4    that and later             [16.4, ...)
    >17       later than every 17.x      [18, ...)
    <=17      up to and with every 17.x  [..., 18)
    <17.2     earlier                    [..., 17.2)
    16-18     from 16 through every 18.x [16, 19)

Anything else that begins with a letter is a name (``xp``) and stands for itself. What a request says is read
as far as it is numbers (``14.4.1 (beta)`` is 14.4.1, iOS's ``18_1`` is 18.1); if it begins with none, it is
in no range.

For the index a range is covered by blocks of major versions (``Range.blocks``), as in a segment tree: the
blocks of a request's version are the few that hold its major number, so a range and a version that is in it
always share one.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from msgspec import Struct

from adserver.domain import limits

Version = tuple[int, ...]
"""Without zeros at its end, so that tuples compare as versions do."""

_NUMBERS: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})*"
_RANGE: Final = re.compile(rf"(>=|<=|>|<)?\s*({_NUMBERS})\Z", re.ASCII)
_FROM_TO: Final = re.compile(rf"({_NUMBERS})\s*-\s*({_NUMBERS})\Z", re.ASCII)
_NAME: Final = re.compile(r"[^\W\d_][\w .-]*\Z")
_GIVEN: Final = re.compile(r"[0-9]+(?:[._][0-9]+)*", re.ASCII)

_LEVELS: Final = 7
_MANY: Final = 1 << _LEVELS
"""Major versions from here on share one block."""


class Range(Struct, frozen=True):
    """From ``first`` (None: the beginning) to before ``end`` (None: no end)."""

    first: Version | None
    end: Version | None

    def holds(self, version: Version) -> bool:
        if self.first is not None and version < self.first:
            return False
        return self.end is None or version < self.end

    def blocks(self) -> tuple[str, ...]:
        """Blocks of major versions that cover it, and hardly more: some dozen."""
        low = min(_major(self.first), _MANY) if self.first is not None else 0
        high = _MANY + 1
        if self.end is not None:
            # 18 itself ends a range of 17.x: only 18.1 and the like reach into its major version.
            high = min(_major(self.end) + (len(self.end) > 1), high)
        found = ["many"] if high > _MANY else []
        return (*found, *_covering(low, min(high, _MANY)))


def read(text: str) -> tuple[str, Range | None]:
    """A line item's version in its normal form, and its range: None for a name. Raises ValueError."""
    written = text.strip().casefold()
    found = _RANGE.match(written)
    if found is not None:
        sign, number = found[1] or "", _numbers(found[2])
        return sign + _text(number), _range(sign, number)
    found = _FROM_TO.match(written)
    if found is not None:
        one, other = _numbers(found[1]), _numbers(found[2])
        span = Range(_trimmed(one), _next(other))
        if not (span.first or ()) < (span.end or ()):
            raise ValueError(f"ends before it begins; write {_text(other)}-{_text(one)}")
        return f"{_text(one)}-{_text(other)}", span
    if _NAME.match(written):
        return written, None
    raise ValueError("is no version; write 17, 17.2, >=16.4, <18 or 16-18")


@lru_cache(maxsize=10_000)
def range_of(text: str) -> Range | None:
    """Of what ``read`` found good."""
    return read(text)[1]


@lru_cache(maxsize=1000)
def given(text: str) -> Version | None:
    """The version a request says; None where it says no number."""
    found = _GIVEN.match(text)
    return _trimmed([int(part) for part in re.split("[._]", found[0])]) if found else None


@lru_cache(maxsize=1000)
def blocks_of(text: str) -> tuple[str, ...]:
    """The blocks a request's version is in: those that may hold a range it is in."""
    version = given(text)
    if version is None:
        return ()
    major = _major(version)
    return ("many",) if major >= _MANY else tuple(_block(major, level) for level in range(_LEVELS + 1))


def _range(sign: str, number: list[int]) -> Range:
    first, end = _trimmed(number), _next(number)
    if sign in (">", ">="):
        return Range(first if sign == ">=" else end, None)
    if sign in ("<", "<="):
        return Range(None, first if sign == "<" else end)
    return Range(first, end)


def _numbers(text: str) -> list[int]:
    parts = [int(part) for part in text.split(".")]
    if len(parts) > limits.VERSION_PARTS:
        raise ValueError(f"has {len(parts)} numbers; at most {limits.VERSION_PARTS}")
    return parts


def _text(number: list[int]) -> str:
    return ".".join(map(str, number))


def _trimmed(number: list[int]) -> Version:
    while number and number[-1] == 0:
        number = number[:-1]
    return tuple(number)


def _next(number: list[int]) -> Version:
    """The first version behind all that begin with this one: 17.2 -> 17.3."""
    return (*number[:-1], number[-1] + 1)


def _major(version: Version) -> int:
    return version[0] if version else 0


def _covering(low: int, high: int) -> Iterator[str]:
    """[low, high) in the fewest blocks: the largest that begins here and fits, again and again."""
    while low < high:
        level = min((low & -low).bit_length() - 1 if low else _LEVELS, (high - low).bit_length() - 1)
        yield _block(low, level)
        low += 1 << level


def _block(major: int, level: int) -> str:
    """The block of 2^level major versions that holds this one."""
    start = major >> level << level
    return f"{start}..{start + (1 << level) - 1}"
