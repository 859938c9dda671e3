"""Collecting what is wrong with a document: every problem at once, each saying what would be right."""

from collections.abc import Iterable
from difflib import get_close_matches

from adserver.domain import limits
from adserver.domain.changes import Problem

_SHOWN: int = 12
"""Longer lists of what is allowed are cut: a message is read by a person."""

_COMPARED: int = 200
"""Comparing texts costs the product of their lengths; nobody misspells a longer one."""


class Findings:
    """The problems of one document, in the order they were found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @property
    def full(self) -> bool:
        return len(self.problems) > limits.PROBLEMS_PER_DOCUMENT

    def add(self, path: str, message: str) -> None:
        if len(self.problems) < limits.PROBLEMS_PER_DOCUMENT:
            self.problems.append(Problem(path, message))
        elif not self.full:
            self.problems.append(Problem("", "there are more problems; these are the first"))


def join(path: str, name: str) -> str:
    """The path of member ``name`` of what stands at ``path``."""
    return f"{path}.{name}" if path else name


def suggestion(given: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` where one of ``known`` is close, else nothing."""
    if len(given) > _COMPARED:
        return ""
    close = get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def choices(known: Iterable[str]) -> str:
    """``a, b or c`` for a message, cut where it would be long."""
    names = list(known)
    if len(names) > _SHOWN:
        return ", ".join(names[:_SHOWN]) + ", ..."
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def shown(value: object) -> str:
    """A value as a message shows it: short, quoted, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = ascii(value)[1:-1] if isinstance(value, str) and not str(value).isprintable() else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f'"{text}"' if isinstance(value, str) else text
