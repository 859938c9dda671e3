"""Custom expressions over what a request says (API.md section 5), such as

    section = "sport" and (user.age >= 25 or page.keywords contains "cycling")

A text is cut into words (``words``), read into a frozen tree (``reading``), and the tree is asked about a
request (``asking``). Nothing is ever handed to Python's own evaluation, a name is only ever a key of a
mapping, and both the length of a text and the depth of its brackets are bounded.

    condition   = conjunction {"or" conjunction}
    conjunction = denial {"and" denial}
    denial      = "not" denial | "(" condition ")" | comparison
    comparison  = operand [relation operand | ("=~" | "!~") pattern]
    relation    = "=" | "<>" | "<" | "<=" | ">" | ">=" | "like" | "contains"
    operand     = name {"." name} | number | "text" | true | false | "[" literals "]"

Words are all lower or all upper case; ``/* .. */`` and ``// ..`` are comments. What they mean:

* Values are equal only within a kind: ``"1"`` is not ``1``, and ``true`` is not ``1``.
* What the request does not say is equal to nothing; ``<>`` is exactly the opposite of ``=``.
* ``<`` and its kin compare numbers with numbers and texts with texts (by code point); else they are false.
* ``like``: each ``*`` stands for one or more characters; case counts. So ``"foo" like "foo*"`` is false.
* ``contains``: a list has the value as a member, or a text has the other text in it.
* ``=~``: the pattern, a regular expression of RE2's (``regexes``), is found in the text; case counts, and
  in a pattern a backslash is the pattern's. ``!~`` is exactly the opposite.
* A name alone is true only where its value is ``true``.

``not x = 1`` is ``not (x = 1)``. The language this one comes from writes ``!`` before the text of what
follows, so that there it is ``(not x) = 1``, which is hardly ever meant; ``parse(text, tight_not=True)``
reads it that way. With brackets, ``not (x = 1)``, both are the same.
"""

from adserver.domain.expressions.asking import Ask, Look, holds, leaves, names, operands, prepared, required
from adserver.domain.expressions.reading import parse
from adserver.domain.expressions.tree import Condition, Path
from adserver.domain.expressions.words import ExpressionError

__all__ = [
    "Ask",
    "Condition",
    "ExpressionError",
    "Look",
    "Path",
    "holds",
    "leaves",
    "names",
    "operands",
    "parse",
    "prepared",
    "required",
]
