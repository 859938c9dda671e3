"""Shares, rates and weights of a document: numbers of any spelling, never money."""

from typing import Final

from adserver.catalog.fields import Fields
from adserver.catalog.findings import shown

_WANTED: Final = 'it is a number such as "0.25"'


def number(fields: Fields, name: str, default: float, least: float, most: float) -> float:
    value = fields.take(name)
    if value is None:
        return default
    found = _float(value)
    if found is None or not least <= found <= most:
        fields.add(name, f"is {shown(value)}; {_WANTED}, from {least:g} to {most:g}")
        return default
    return found


def numbers(fields: Fields, name: str, least: int, most: int) -> tuple[float, ...]:
    """A list of weights; one number is a list of one where that is allowed. Empty: not given, or wrong."""
    value = fields.take(name)
    if value is None:
        return ()
    listed = value if isinstance(value, list) else [value]
    found = [one for item in listed if (one := _float(item)) is not None and 0 <= one <= 1e6]
    if len(found) != len(listed) or not least <= len(found) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        fields.add(name, f"is not a list of {wanted} numbers from 0 on")
        return ()
    return tuple(found)


def _float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < 1e18 else None
