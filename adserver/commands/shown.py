"""How problems and counts are printed."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adserver.catalog.folder import Folder
from adserver.domain.changes import Problem

_WIDE: Final = 1000
"""Columns."""


def show_problems(problems: Sequence[Problem]) -> None:
    """File by file: the path in the file, and what is wrong with what stands there."""
    console = Console(soft_wrap=True, highlight=False)
    document = None
    for problem in problems:
        if problem.document != document:
            document = problem.document
            console.print(Text(plain(document), style="bold"))
        line = Text("  ")
        if problem.path:
            line.append(plain(problem.path), style="yellow").append(": ")
        console.print(line.append(plain(problem.message)))


def counted(folder: Folder, problems: Sequence[Problem]) -> str:
    """``3 publishers, ... : no problems``, the last line of a check."""
    kinds = Counter(draft.kind for draft in folder.drafts)
    listed = ", ".join(many(number, kind) for kind, number in sorted(kinds.items()))
    if not problems:
        return f"{listed or 'nothing found'}: no problems"
    files = len({problem.document for problem in problems})
    return f"{listed or 'nothing readable'}: {many(len(problems), 'problem')} in {many(files, 'file')}"


def show_table(table: Table) -> None:
    """As wide as it is where it is not a terminal: whoever reads a pipe wants whole lines, and numbers."""
    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.width = _WIDE
    console.print(table)


def many(number: int, word: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def plain(text: str) -> str:
    """Documents are other people's: nothing in them may steer the terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]
