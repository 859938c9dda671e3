"""The field ``custom``: an expression is read when it is uploaded, and refused where it could never hold."""

from collections.abc import Iterator
from itertools import permutations

from adserver.catalog.fields import check_text
from adserver.catalog.findings import choices, shown, suggestion
from adserver.domain import expressions, limits
from adserver.domain.expressions import ExpressionError
from adserver.domain.expressions.tree import Condition, Literal, Path
from adserver.domain.properties import FACTS, POINT
from adserver.domain.targeting import normalise

_CLOSED = ("device", "geo")
"""What has no properties of its own."""


def check_expression(text: str) -> str:
    """The expression itself; ValueError with a column and a hint."""
    check_text(text, limits.EXPRESSION_CHARS)
    tree = expressions.parse(text)
    for name in expressions.names(tree):
        _check_name(name, text)
    for name, value in _compared(tree):
        _check_spelling(name, value, text)
    return text


def _check_name(name: Path, text: str) -> None:
    root, *rest = name.parts
    if root not in _CLOSED or not rest:
        return
    known = [f"{root}.{fact}" for fact in (*FACTS[root], *(POINT if root == "geo" else ()))]
    if name.text in known:
        return
    hint = f"it is {choices(known)}{suggestion(name.text, known)}"
    raise ExpressionError(text, name.column - 1, f"{shown(name.text)} is not known", hint)


def _check_spelling(name: Path, value: str, text: str) -> None:
    """Facts are compared in one spelling; an expression in another would never hold."""
    dimension = FACTS.get(name.parts[0], {}).get(name.parts[-1]) if len(name.parts) == 2 else None
    if dimension is None or not value or value == (right := normalise(dimension, value)):
        return
    message = f"{name.text} is never {shown(value)}"
    raise ExpressionError(text, name.column - 1, message, f"write {shown(right)}")


def _compared(tree: Condition) -> Iterator[tuple[Path, str]]:
    """Names and the texts they are compared with."""
    for leaf in expressions.leaves(tree):
        for name, other in permutations(expressions.operands(leaf), 2):
            if isinstance(name, Path) and isinstance(other, Literal):
                values = other.value if isinstance(other.value, tuple) else (other.value,)
                yield from ((name, value) for value in values if isinstance(value, str))
