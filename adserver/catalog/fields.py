"""Reading the fields of one mapping of a document.

``Fields`` hands out typed values and notes every problem instead of raising, so that one reading finds
all of them; a getter that found a problem returns its default, and the caller goes on. What nobody asked
for is an unknown field: ``done()`` reports it, with the name that was probably meant.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final, TypeVar

from adserver.catalog.documents import Number
from adserver.catalog.findings import Findings, choices, join, shown, suggestion
from adserver.domain import ids, limits, money

T = TypeVar("T")

_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)
"""Characters that show nothing and change what is read beside them (tab and line breaks are fine)."""

SLUG: Final = "an id is a slug: a-z, 0-9, '.', '_' and '-', at most 64, beginning with a letter or digit"


def check_text(text: str, most: int = limits.TEXT_CHARS) -> str:
    """The text itself; ValueError where it is too long or holds control characters."""
    if len(text) > most:
        raise ValueError(f"has {len(text)} characters; at most {most}")
    found = _CONTROL.search(text)
    if found:
        raise ValueError(f"holds the control character U+{ord(found[0]):04X}; remove it")
    return text


def check_slug(text: str) -> str:
    """The id itself; ValueError where it is none."""
    if not ids.SLUG.match(text):
        raise ValueError(f"{shown(text)} is not an id; {SLUG}")
    return text


def as_text(value: object) -> str:
    """A text of a document; ValueError, with what to write, for anything else."""
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    if isinstance(value, Number) or (isinstance(value, int) and not isinstance(value, bool)):
        raise ValueError(f'is the number {shown(str(value))[1:-1]}; write it in quotes: "{str(value)[:40]}"')
    raise ValueError(f"is {shown(value)}; it must be text")


class Fields:
    """The mapping ``values`` that stands at ``path``."""

    def __init__(self, values: dict[str, object], path: str, findings: Findings) -> None:
        self._values = values
        self._asked: set[str] = set()
        self.path = path
        self.findings = findings

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def at(self, name: str) -> str:
        return join(self.path, name)

    def add(self, name: str, message: str) -> None:
        """Note a problem of the field ``name`` (empty: of the mapping itself)."""
        self.findings.add(self.at(name) if name else self.path, message)

    def values_given(self) -> dict[str, object]:
        """The mapping as it stands in the document."""
        return self._values

    def take(self, name: str) -> object:
        """The raw value, None if absent; the field counts as known from then on."""
        self._asked.add(name)
        return self._values.get(name)

    def present(self, name: str) -> bool:
        """Whether the field says anything (null is as good as absent)."""
        self._asked.add(name)
        return self._values.get(name) is not None

    def done(self) -> None:
        """Report what was never asked for."""
        if len(self._asked) >= len(self._values) and self._asked.issuperset(self._values):
            return
        for name in self._values:
            if self.findings.full:
                return
            if name not in self._asked:
                hint = suggestion(name, self._asked) or f"; known are {', '.join(sorted(self._asked))}"
                self.add(shown(name)[1:-1], f"unknown field{hint}")

    def not_built(self, name: str, what: str) -> None:
        """Refuse a field the contract reserves."""
        if self.present(name):
            self.add(name, f"{what} is not built yet; leave it out")

    # -- single values ---------------------------------------------------------------------------

    def convert(self, name: str, default: T, reader: Callable[[str], T], required: str = "") -> T:
        """A text read by ``reader``, whose ValueError becomes the problem. ``required``: what to say where
        the field is absent (empty: it need not be there)."""
        value = self.take(name)
        if value is None:
            if required:
                self.add(name, f"is missing; {required}")
            return default
        try:
            return reader(as_text(value))
        except ValueError as error:
            self.add(name, str(error))
            return default

    def text(self, name: str, default: str = "", most: int = limits.TEXT_CHARS, required: str = "") -> str:
        return self.convert(name, default, lambda text: check_text(text, most), required)

    def slug(self, name: str, required: str = "") -> str:
        """An id, or the empty text where there is no good one."""
        return self.convert(name, "", check_slug, required)

    def choice(self, name: str, known: Collection[str], default: str, required: bool = False) -> str:
        value = self.take(name)
        if value is None:
            if required:
                self.add(name, f"is missing; it is {choices(known)}")
            return default
        if isinstance(value, str) and value in known:
            return value
        hint = suggestion(value, known) if isinstance(value, str) else ""
        self.add(name, f"{shown(value)} is not known; it is {choices(known)}{hint}")
        return default

    def flag(self, name: str, default: bool) -> bool:
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.add(name, f"is {shown(value)}; it is true or false")
        return default

    def integer(self, name: str, default: int, least: int, most: int, required: bool = False) -> int:
        value = self.take(name)
        if value is None:
            if required:
                self.add(name, f"is missing; it is a whole number from {least} to {most}")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.add(name, f"is {shown(value)}; it is a whole number from {least} to {most}")
            return default
        if not least <= value <= most:
            self.add(name, f"is {shown(value)}; it is from {least} to {most}")
            return default
        return value

    def amount(self, name: str, required: str = "") -> int | None:
        """An amount of money in micros, None if absent or wrong. Numbers are refused: a program that
        writes 4.2 has most likely had it in a binary float."""
        value = self.take(name)
        if isinstance(value, Number | int) and not isinstance(value, bool):
            self.add(name, f'is the number {value}; an amount is text such as "{_example(str(value))}"')
            return None
        return self.convert(name, None, money.parse_amount, required)

    # -- collections -----------------------------------------------------------------------------

    def mapping(self, name: str, required: str = "") -> "Fields | None":
        """The mapping in the field, None if there is none."""
        value = self.take(name)
        if isinstance(value, dict):
            return Fields(value, self.at(name), self.findings)
        if value is not None:
            self.add(name, f"is {shown(value)}; it is a mapping of names to values")
        elif required:
            self.add(name, f"is missing; {required}")
        return None

    def sequence(self, name: str, most: int, least: int = 0, required: str = "") -> list[object]:
        """The list in the field, empty where there is none."""
        value = self.take(name)
        if value is None:
            if required:
                self.add(name, f"is missing; {required}")
            return []
        if not isinstance(value, list):
            self.add(name, f"is {shown(value)}; it is a list: [{_inside(value)}]")
            return []
        if len(value) > most:
            self.add(name, f"has {len(value)} entries; at most {most}")
            return []
        if len(value) < least:
            self.add(name, "is an empty list; leave the field out, or give it an entry")
        return value

    def mappings(self, name: str, most: int, least: int = 0, required: str = "") -> Iterator["Fields"]:
        """The mappings of the list in the field."""
        for place, value in enumerate(self.sequence(name, most, least, required)):
            path = f"{self.at(name)}[{place}]"
            if isinstance(value, dict):
                yield Fields(value, path, self.findings)
            else:
                self.findings.add(path, f"is {shown(value)}; it is a mapping of names to values")

    def values(
        self, name: str, reader: Callable[[str], str], most: int = limits.VALUES_PER_LIST, least: int = 0
    ) -> tuple[str, ...]:
        """A list of texts, each read by ``reader``; repeated values once, in order."""
        found: dict[str, None] = {}
        for place, value in enumerate(self.sequence(name, most, least)):
            try:
                found[reader(as_text(value))] = None
            except ValueError as error:
                self.findings.add(f"{self.at(name)}[{place}]", str(error))
        return tuple(found)


def _example(number: str) -> str:
    """What to write instead of a number given as money."""
    try:
        return money.format_micros(money.parse_amount(number))
    except ValueError:
        return "4.20"


def _inside(value: object) -> str:
    return str(value)[:40] if isinstance(value, str | int) and not isinstance(value, bool) else "..."
