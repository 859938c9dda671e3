"""Whether an expression holds: a pure function of its tree and of a way to look names up."""

import operator
from collections.abc import Callable, Iterator
from typing import Any, Final

from adserver.domain import wildcards
from adserver.domain.expressions import regexes
from adserver.domain.expressions.tree import (
    And,
    Comparison,
    Condition,
    Contains,
    Inverted,
    Like,
    Literal,
    Matches,
    Not,
    Operand,
    Or,
    Path,
    Truth,
)

Leaf = Comparison | Like | Contains | Matches | Truth

Look = Callable[[tuple[str, ...]], object]
"""The parts of a name -> its value (as JSON decodes to Python), None where there is none."""


Ask = Callable[[Look], bool]


def holds(tree: Condition, look: Look) -> bool:
    """Whether it holds: left to right, and no further than needed. Raises nothing, whatever ``look``
    finds. Cost: linear in the tree and in the texts and lists it meets."""
    return prepared(tree)(look)


def prepared(tree: Condition) -> Ask:
    """The tree as one function, made once and asked often: what is known of it beforehand (kinds of
    nodes, literals) is not looked at again."""
    if isinstance(tree, And):
        return _conjunction([prepared(part) for part in tree.parts])
    if isinstance(tree, Or):
        return _disjunction([prepared(part) for part in tree.parts])
    if isinstance(tree, Not):
        inner = prepared(tree.inner)
        return lambda look: not inner(look)
    if isinstance(tree, Comparison):
        return _comparison(tree)
    if isinstance(tree, Contains):
        whole, part = _value(tree.whole), _value(tree.part)
        return lambda look: _contains(whole(look), part(look))
    if isinstance(tree, Like):
        text, pattern = _value(tree.text), _value(tree.pattern)
        return lambda look: _like(text(look), pattern(look))
    if isinstance(tree, Matches):
        return _matching(tree)
    operand = _value(tree.operand)
    return lambda look: operand(look) is True


def _matching(tree: Matches) -> Ask:
    text, search = _value(tree.text), regexes.compiled(tree.pattern)

    def ask(look: Look) -> bool:
        found = text(look)
        return isinstance(found, str) and search(found)

    return ask


def _conjunction(parts: list[Ask]) -> Ask:
    def ask(look: Look) -> bool:
        for part in parts:  # noqa: SIM110 - all() would make a generator each time
            if not part(look):
                return False
        return True

    return ask


def _disjunction(parts: list[Ask]) -> Ask:
    def ask(look: Look) -> bool:
        for part in parts:  # noqa: SIM110 - any() would make a generator each time
            if part(look):
                return True
        return False

    return ask


def leaves(tree: Condition) -> Iterator[Leaf]:
    """The conditions that hold no others, as they stand in the text."""
    if isinstance(tree, And | Or):
        for part in tree.parts:
            yield from leaves(part)
    elif isinstance(tree, Not):
        yield from leaves(tree.inner)
    else:
        yield tree


def names(tree: Condition) -> Iterator[Path]:
    """The names an expression asks for, as they stand in it."""
    for leaf in leaves(tree):
        for operand in operands(leaf):
            inner = operand.operand if isinstance(operand, Inverted) else operand
            if isinstance(inner, Path):
                yield inner


def required(tree: Condition) -> Iterator[tuple[Path, str]]:
    """Names that must have one certain text for the expression to hold: its ``name = "text"``, alone or
    joined by ``and`` at the top. An index can look them up."""
    for part in tree.parts if isinstance(tree, And) else (tree,):
        if not isinstance(part, Comparison) or part.relation != "=":
            continue
        for name, other in ((part.left, part.right), (part.right, part.left)):
            if isinstance(name, Path) and isinstance(other, Literal) and isinstance(other.value, str):
                yield name, other.value


def operands(tree: Leaf) -> tuple[Operand, ...]:
    if isinstance(tree, Comparison):
        return tree.left, tree.right
    if isinstance(tree, Like):
        return tree.text, tree.pattern
    if isinstance(tree, Matches):
        return (tree.text,)
    return (tree.whole, tree.part) if isinstance(tree, Contains) else (tree.operand,)


def _value(operand: Operand) -> Callable[[Look], object]:
    if isinstance(operand, Literal):
        value = operand.value
        return lambda look: value
    if isinstance(operand, Path):
        parts = operand.parts
        return lambda look: look(parts)
    inner = _value(operand.operand)
    return lambda look: int(inner(look) in (None, False, 0, ""))


def _comparison(tree: Comparison) -> Ask:
    left, right = _value(tree.left), _value(tree.right)
    if isinstance(tree.left, Inverted):
        right = _as_number(right)
    if tree.relation == "=":
        return lambda look: _equal(left(look), right(look))
    if tree.relation == "<>":
        return lambda look: not _equal(left(look), right(look))
    ordered = _ORDERS[tree.relation]

    def ask(look: Look) -> bool:
        one, other = left(look), right(look)
        comparable = (_is_number(one) and _is_number(other)) or (type(one) is str and type(other) is str)
        return comparable and ordered(one, other)

    return ask


_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _as_number(value: Callable[[Look], object]) -> Callable[[Look], object]:
    """true and false as 1 and 0, which is what a tight ``not`` gives."""

    def found(look: Look) -> object:
        got = value(look)
        return int(got) if isinstance(got, bool) else got

    return found


def _is_number(value: object) -> bool:
    kind = type(value)
    return kind is int or kind is float


def _equal(left: object, right: object) -> bool:
    """Scalars of one kind; lists and mappings are equal to nothing."""
    kind = type(left)
    if kind is str or kind is bool:
        return type(right) is kind and left == right
    return _is_number(left) and _is_number(right) and left == right


def _like(text: object, pattern: object) -> bool:
    if not isinstance(text, str) or not isinstance(pattern, str):
        return False
    return wildcards.matches(pattern.split("*"), text, least=1)


def _contains(whole: object, part: object) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    return isinstance(whole, list | tuple) and any(_equal(value, part) for value in whole)
