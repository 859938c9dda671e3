"""Regular expressions that nobody can make slow: RE2 reads them (no backtracking, so no look-around and no
references back), and what reading and asking may cost is bounded.

RE2 makes a finite automaton, state by state as a text needs them; where the memory for states runs out it
goes on without keeping any, which is slower and still linear: at most the program's size times the text's
length. Both are bounded here. Source: Cox, Regular Expression Matching in the Wild, 2010 (RE2's design).
"""

from collections.abc import Callable
from typing import Final

import re2

from adserver.domain import limits

Search = Callable[[str], bool]
"""Whether a pattern is found anywhere in a text."""


def compiled(pattern: str) -> Search:
    """Raises ValueError with what RE2 has against it. Case counts, ``^`` and ``$`` are the ends of the text
    and ``.`` is no line break, as in the language the vectors come from; ``(?i)``, ``(?m)``, ``(?s)`` say
    otherwise. Texts of more than ``REGEX_TEXT_CHARS`` match nothing."""
    if len(pattern) > limits.REGEX_CHARS:
        raise ValueError(f"it has {len(pattern)} characters; at most {limits.REGEX_CHARS}")
    try:
        found = re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        raise ValueError(_told(error)) from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character (a lone surrogate)") from error
    if found.programsize > limits.REGEX_PROGRAM:
        raise ValueError(f"it makes {found.programsize} steps; at most {limits.REGEX_PROGRAM}")
    search = found.search

    def ask(text: str) -> bool:
        if len(text) > limits.REGEX_TEXT_CHARS:
            return False
        try:
            return search(text) is not None
        except UnicodeEncodeError:
            return False  # a lone surrogate is no character, so no pattern has it

    return ask


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = limits.REGEX_BYTES
    options.never_capture = True
    options.log_errors = False
    return options


_OPTIONS: Final = _options()


def _told(error: re2.error) -> str:
    """RE2's own words: ``missing ): ^(foo``."""
    said = error.args[0] if error.args else "it is no pattern"
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
