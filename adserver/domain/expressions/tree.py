"""The tree of an expression: values all the way down."""

from typing import Literal as OneOf

from msgspec import Struct

Scalar = str | int | float | bool
Relation = OneOf["=", "<>", "<", "<=", ">", ">="]
RELATIONS: tuple[Relation, ...] = ("=", "<>", "<", "<=", ">", ">=")


class Literal(Struct, frozen=True):
    """A value written in the expression; a tuple is a list."""

    value: Scalar | tuple[Scalar, ...]


class Path(Struct, frozen=True):
    """A name, or several with dots between them. ``column``: where it stands, counted from 1."""

    parts: tuple[str, ...]
    column: int = 0

    @property
    def text(self) -> str:
        return ".".join(self.parts)


class Inverted(Struct, frozen=True):
    """1 where an operand says nothing (absent, false, 0, empty), else 0: what a tight ``not`` makes."""

    operand: "Literal | Path"


Operand = Literal | Path | Inverted


class Comparison(Struct, frozen=True):
    relation: Relation
    left: Operand
    right: Operand


class Like(Struct, frozen=True):
    text: Operand
    pattern: Operand


class Contains(Struct, frozen=True):
    whole: Operand
    part: Operand


class Matches(Struct, frozen=True):
    """Whether a regular expression is found in a text."""

    text: Operand
    pattern: str


class Truth(Struct, frozen=True):
    """An operand that stands alone: whether it is ``true``."""

    operand: Operand


class Not(Struct, frozen=True):
    inner: "Condition"


class And(Struct, frozen=True):
    parts: tuple["Condition", ...]


class Or(Struct, frozen=True):
    parts: tuple["Condition", ...]


Condition = Comparison | Like | Contains | Matches | Truth | Not | And | Or
