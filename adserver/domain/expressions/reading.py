"""Words -> tree, by recursive descent (the grammar stands in ``expressions/__init__``).

Invariant: the parser goes one level down only through ``_deeper``, which counts, so neither brackets nor
a row of ``not`` can use up the stack, here or when the tree is asked. Cost: linear in the words.
"""

from typing import Final, NoReturn

from adserver.domain import limits
from adserver.domain.expressions import regexes
from adserver.domain.expressions.tree import (
    RELATIONS,
    And,
    Comparison,
    Condition,
    Contains,
    Inverted,
    Like,
    Literal,
    Matches,
    Not,
    Or,
    Path,
    Relation,
    Scalar,
    Truth,
)
from adserver.domain.expressions.words import ExpressionError, Word, cut, short

_TOLD_CHARS: Final = 80
_RELATIONS: Final[dict[str, Relation]] = {relation: relation for relation in RELATIONS}


def parse(text: str, *, tight_not: bool = False) -> Condition:
    """The tree of an expression. ``tight_not``: ``not x = 1`` means ``(not x) = 1``. Raises
    ExpressionError with the first thing wrong, its column and a hint."""
    return _Parser(text, tight_not).whole()


class _Parser:
    def __init__(self, text: str, tight_not: bool) -> None:
        self._text = text
        self._tight_not = tight_not
        self._words = cut(text)
        self._next = next(self._words)
        self._depth = 0
        self._patterns = 0

    def whole(self) -> Condition:
        if self._at_end():
            self._refuse("the expression says nothing", 'write a condition such as section = "sport"')
        tree = self._condition()
        if not self._at_end():
            self._refuse(f"{self._shown()} is not expected here", "conditions are joined by and, or")
        return tree

    # -- conditions --------------------------------------------------------------------------------

    def _condition(self) -> Condition:
        parts = [self._conjunction()]
        while self._took("keyword", "or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self) -> Condition:
        parts = [self._denial()]
        while self._took("keyword", "and"):
            parts.append(self._denial())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _denial(self) -> Condition:
        if self._took("keyword", "not"):
            self._deeper()
            inner = self._denied()
            self._depth -= 1
            return inner
        opening = self._next
        if self._took("sign", "("):
            self._deeper()
            inner = self._condition()
            self._depth -= 1
            self._close(opening)
            return inner
        return self._comparison()

    def _denied(self) -> Condition:
        """What stands behind ``not``, turned into its opposite."""
        inverts = self._tight_not and self._next.kind in ("name", "text", "number")
        inner = self._denial()
        if inverts and isinstance(inner, Comparison) and not isinstance(inner.left, Inverted):
            return Comparison(inner.relation, Inverted(inner.left), inner.right)
        return Not(inner)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > limits.EXPRESSION_DEPTH:
            most = limits.EXPRESSION_DEPTH
            self._refuse(f"brackets and not are nested more than {most} deep", "write it flatter")

    def _close(self, opening: Word) -> None:
        if self._took("sign", ")"):
            return
        if self._at_end():
            raise ExpressionError(self._text, opening.start, "the bracket is not closed", "add a )")
        self._refuse(f"{self._shown()} is not expected here", "and, or or ) goes on")

    def _comparison(self) -> Condition:
        start = self._next
        left = self._operand()
        relation = _RELATIONS.get(self._next.value) if self._next.kind == "sign" else None
        if relation is not None:
            self._advance()
            return Comparison(relation, left, self._operand())
        if self._took("keyword", "like"):
            return Like(left, self._operand())
        if self._took("keyword", "contains"):
            return Contains(left, self._operand())
        if self._took("sign", "=~"):
            return Matches(left, self._pattern())
        if self._took("sign", "!~"):
            return Not(Matches(left, self._pattern()))
        if isinstance(left, Path) or isinstance(left.value, bool):
            return Truth(left)
        hint = "compare it: = <> < <= > >= like contains =~"
        raise ExpressionError(self._text, start.start, "a value alone is no condition", hint)

    def _pattern(self) -> str:
        """A regular expression, found good: who asks it later need not expect it to be wrong."""
        word = self._next
        if word.kind != "pattern":
            self._refuse(f"{self._shown()} stands where a pattern is expected", 'a text in quotes: "^sport"')
        self._patterns += 1
        if self._patterns > limits.REGEXES_PER_EXPRESSION:
            most = limits.REGEXES_PER_EXPRESSION
            self._refuse(f"there are more than {most} patterns", "join some: a|b")
        try:
            regexes.compiled(word.value)
        except ValueError as error:
            said = short(str(error), _TOLD_CHARS)
            self._refuse(f"the pattern is not understood: {said}", "it has no look-around or back-references")
        self._advance()
        return word.value

    # -- operands ----------------------------------------------------------------------------------

    def _operand(self) -> Literal | Path:
        word = self._next
        if word.kind == "name":
            self._advance()
            return Path(tuple(word.value.split(".")), word.start + 1)
        if self._took("sign", "["):
            return Literal(self._list(word))
        value = self._scalar()
        if value is None:
            self._refuse(f"{self._shown()} stands where a value is expected", "a name, text, number or list")
        return Literal(value)

    def _list(self, opening: Word) -> tuple[Scalar, ...]:
        if self._took("sign", "]"):
            return ()
        values: list[Scalar] = []
        while True:
            value = self._scalar()
            if value is None:
                self._refuse(f"{self._shown()} stands in a list", "a list holds texts and numbers: [1, 2]")
            values.append(value)
            if self._took("sign", "]"):
                return tuple(values)
            if self._at_end():
                raise ExpressionError(self._text, opening.start, "the list is not closed", "add a ]")
            if not self._took("sign", ","):
                self._refuse(f"{self._shown()} stands in a list", "commas stand between its values")

    def _scalar(self) -> Scalar | None:
        word = self._next
        if word.kind == "text":
            self._advance()
            return word.value
        if word.kind == "number":
            self._advance()
            return float(word.value) if "." in word.value else int(word.value)
        if word.kind == "keyword" and word.value in ("true", "false"):
            self._advance()
            return word.value == "true"
        return None

    # -- words -------------------------------------------------------------------------------------

    def _took(self, kind: str, value: str) -> bool:
        if (self._next.kind, self._next.value) != (kind, value):
            return False
        self._advance()
        return True

    def _at_end(self) -> bool:
        return self._next.kind == "end"

    def _advance(self) -> None:
        self._next = next(self._words)

    def _shown(self) -> str:
        if self._at_end():
            return "the end"
        return short(f'"{self._next.value}"' if self._next.kind == "text" else self._next.value)

    def _refuse(self, message: str, hint: str) -> NoReturn:
        raise ExpressionError(self._text, self._next.start, message, hint)
