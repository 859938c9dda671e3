"""``adserver simulate``: a configuration in, a folder of tables and pictures out."""

import sys
from pathlib import Path

from msgspec.structs import replace

from adserver.commands.shown import many, show_problems
from adserver.domain.changes import Invalid
from adserver.options import Wrong
from adserver.simulation import plots, summary, tables
from adserver.simulation.config import read_config
from adserver.simulation.run import simulate


def run(file: Path, out: Path, pictures: bool) -> int:
    """The exit code: 1 where a law was broken. Raises Wrong."""
    if not file.is_file():
        raise Wrong(f"{file} is not a file")
    try:
        config = read_config(file)
        _make(out)
        found = simulate(config, _say)
    except Invalid as refusal:
        named = [
            problem if problem.document else replace(problem, document=str(file))
            for problem in refusal.problems
        ]
        show_problems(named)
        raise Wrong(f"{many(len(named), 'problem')}: nothing was simulated") from refusal
    try:
        written = tables.write(found, out)
        page = summary.to_markdown(found)
        (out / "summary.md").write_text(page, encoding="utf-8")
        if pictures:
            _say(plots.draw(found, out))
    except OSError as error:
        raise Wrong(f"{error.filename or out}: {error.strerror}") from error
    print(page, end="")
    _say(f"{out}: summary.md, {', '.join(written)}")
    return 1 if found.offences else 0


def _make(out: Path) -> None:
    """Before anything is simulated, which takes minutes. Raises Wrong."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Wrong(f"{out}: {error.strerror}") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
