"""Reading what exchanges send: field by field, and never in anger.

A bid request crosses several companies' software before it gets here. One field of a wrong type must cost
that field, not the request; so nothing here raises. What cannot be understood is as if it were absent,
except signals that protect somebody (``flag``): these are obeyed when in doubt.
"""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

import msgspec

from adserver.domain import limits

_INTEGER_DIGITS: Final = 18
_NUMBER_CHARS: Final = 64
_WHOLE_MAX: Final = 10**_INTEGER_DIGITS
_UNREADABLE: Final = Decimal("NaN")


def number_of(text: str) -> Decimal:
    """A JSON number as it was written: prices are never binary floats."""
    try:
        return Decimal(text) if len(text) <= _NUMBER_CHARS else _UNREADABLE
    except InvalidOperation:
        return _UNREADABLE


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _INTEGER_DIGITS else number_of(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


_DECODER: Final = msgspec.json.Decoder(float_hook=number_of)


def decode(body: bytes) -> Any:
    """Any JSON. Raises ValueError if it is none. msgspec refuses lone surrogates and numbers of thousands
    of digits, which the grammar allows; the standard library's parser has the last word."""
    try:
        return _decode(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _decode(body: bytes) -> Any:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, ValueError):
        written = body.decode("utf-8")
        return json.loads(written, parse_float=number_of, parse_int=_integer, parse_constant=_no_number)


def text(value: object, most: int = limits.VALUE_CHARS) -> str | None:
    """A text of 1 to ``most`` characters; an integer is read as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < _WHOLE_MAX else None
    if not isinstance(value, str) or not 0 < len(value) <= most:
        return None
    return value if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value) else None


def plain(value: object, most: int = limits.VALUE_CHARS) -> str | None:
    """The same without control characters."""
    found = text(value, most)
    return found if found is None or found.isprintable() or not any(c < " " for c in found) else None


def whole(value: object) -> int | None:
    """An integer, also written ``300.0`` or ``"300"``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < _WHOLE_MAX else None
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _INTEGER_DIGITS else None
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < _INTEGER_DIGITS:
        return int(value) if value.adjusted() >= -1 and value == int(value) else None
    return None


def number(value: object) -> Decimal | None:
    """A finite number, also written as a text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = number_of(value.strip())
    elif isinstance(value, int):
        value = Decimal(value)
    return value if isinstance(value, Decimal) and value.is_finite() else None


def flag(value: object) -> bool | None:
    """A 0 or 1; None if it is absent. Anything but a clear 0 is a 1: these flags protect somebody."""
    if value is None:
        return None
    return not (number(value) == 0 or value is False or value == "")


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def listing(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def texts(value: object, most: int = limits.VALUES_PER_LIST) -> list[str]:
    """The texts of a list; a lone text is a list of one."""
    found = (text(item) for item in ([value] if isinstance(value, str) else listing(value)))
    return [item for item in found if item is not None][:most]


def wholes(value: object) -> frozenset[int]:
    return frozenset(item for item in map(whole, listing(value)) if item is not None)


def mimes(value: object) -> frozenset[str]:
    """Media types, in small letters."""
    return frozenset(mime.strip().lower() for mime in texts(value))


def present(*values: object) -> bool:
    """Whether any of these says something, readable or not."""
    return any(value is not None and value != "" and value != [] and value != {} for value in values)


def words(value: object) -> Iterator[str]:
    """The parts of a comma-separated text."""
    if isinstance(value, str):
        for part in value.split(","):
            found = text(part.strip())
            if found is not None:
                yield found
