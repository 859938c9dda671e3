"""An expression's text, cut into words, each with the place where it begins."""

import re
from collections.abc import Iterator
from typing import Final, Literal, NoReturn

from msgspec import Struct

from adserver.domain import limits

Kind = Literal["name", "text", "pattern", "number", "sign", "keyword", "end"]

KEYWORDS: Final = ("and", "or", "not", "like", "contains", "true", "false")
_KEYWORDS: Final = {spelling: word for word in KEYWORDS for spelling in (word, word.upper())}

_WORD: Final = re.compile(
    r"""(?P<space>\s+|/\*.*?\*/|//[^\n]*)
    |(?P<name>[A-Za-z_$][A-Za-z0-9_$]*(?:\.[A-Za-z_$][A-Za-z0-9_$]*)*)
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?)
    |(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<match>=~|!~)
    |(?P<foreign>==|!=|&&|\|\||!|'|/\*)
    |(?P<sign><>|<=|>=|[=<>()\[\],])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
"""Alternatives never begin alike, so matching is linear in the text."""

_HINTS: Final = {
    "==": "write =",
    "!=": "write <>",
    "&&": "write and",
    "||": "write or",
    "!": "write not",
    "'": 'texts stand in double quotes: "sport"',
    "/*": "the comment has no end; close it with */",
    '"': 'the text has no end; close it with "',
    "-": "a minus stands only before the digits of a number",
}
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class ExpressionError(ValueError):
    """What is wrong with an expression, where (``column``, from 1), and what to write instead."""

    def __init__(self, text: str, start: int, message: str, hint: str = "") -> None:
        line = text.count("\n", 0, start)
        self.column = start - (text.rfind("\n", 0, start) + 1) + 1
        self.hint = hint
        place = f"line {line + 1}, column {self.column}" if line else f"column {self.column}"
        super().__init__(f"{place}: {message}{'; ' if hint else ''}{hint}")


class Word(Struct, frozen=True):
    """``value``: of a keyword its lower case, of a text what the quotes hold; of a pattern (a text behind
    ``=~`` or ``!~``) as well, but every backslash stays: it is the pattern's."""

    kind: Kind
    value: str
    start: int


def cut(text: str) -> Iterator[Word]:
    """Words, then one of kind ``end``. Raises ExpressionError. Cost: linear; refuses a text that is too
    long before it looks at it."""
    if len(text) > limits.EXPRESSION_CHARS:
        most = limits.EXPRESSION_CHARS
        raise ExpressionError("", 0, f"the expression has {len(text)} characters; at most {most}")
    start, matching = 0, False
    while start < len(text):
        found = _WORD.match(text, start)
        if found is None:
            _refuse(text, start, text[start])
        kind, value = found.lastgroup, found[0]
        if kind == "foreign":
            _refuse(text, start, value)
        if kind == "text" and matching:
            yield Word("pattern", value[1:-1], start)
        elif kind != "space":
            yield _word(kind or "", value, text, start)
        matching = kind == "match" or (matching and kind == "space")
        start = found.end()
    yield Word("end", "", start)


def _word(kind: str, value: str, text: str, start: int) -> Word:
    if kind == "text":
        return Word("text", _unquoted(value, text, start), start)
    if kind == "number":
        if len(value) > limits.NUMBER_CHARS:
            raise ExpressionError(text, start, f"the number has more than {limits.NUMBER_CHARS} digits")
        return Word("number", value, start)
    if kind in ("sign", "match"):
        return Word("sign", value, start)
    if value in _KEYWORDS:
        return Word("keyword", _KEYWORDS[value], start)
    if any(part.startswith("__") for part in value.split(".")):
        raise ExpressionError(
            text, start, f"{short(value)} is not a name", "none begins with two underscores"
        )
    return Word("name", value, start)


def _unquoted(value: str, text: str, start: int) -> str:
    for found in _ESCAPE.finditer(value, 1, len(value) - 1):
        if found[1] not in '"\\':
            place = start + found.start()
            raise ExpressionError(text, place, f"{short(found[0])} is not an escape", r"write \\ or \"")
    return _ESCAPE.sub(r"\1", value[1:-1])


def _refuse(text: str, start: int, sign: str) -> NoReturn:
    hint = _HINTS.get(sign, "names are letters, digits, _ and $, with dots between them")
    raise ExpressionError(text, start, f"{short(sign)} is not understood", hint)


def short(value: str, most: int = 40) -> str:
    """A value as a message shows it."""
    shown = value if value.isprintable() else ascii(value)[1:-1]
    return shown if len(shown) <= most else shown[: most - 3] + "..."
