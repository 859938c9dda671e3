"""One runner for every decision case (DESIGN, house style: a case is a file)."""

import json
from pathlib import Path

import decision_cases as cases
import pytest
import render

from adserver.domain.decision import NoFill

EVERY = [path for folder in cases.FOLDERS for path in cases.paths(folder)]
ELSEWHERE = {NoFill.OVERLOADED, NoFill.DISK_FULL, NoFill.STATE_UNAVAILABLE}
"""What needs an overloaded loop or a full disk (services/test_serve_troubles.py), or a Redis that is away
(faults/test_shared_state.py)."""


@pytest.mark.parametrize("path", EVERY, ids=[f"{path.parent.name}/{path.stem}" for path in EVERY])
def test_case(path: Path, tmp_path: Path) -> None:
    cases.Play(cases.load(path), tmp_path / "world").run()


def test_every_reason_is_produced_by_some_case() -> None:
    produced = set().union(*(cases.no_fills(cases.load(path)) for path in EVERY))
    assert produced >= set(NoFill) - ELSEWHERE
    assert not produced - set(NoFill)


def test_invalid_cases_are_refused_and_others_answered() -> None:
    for path in EVERY:
        refused = "error" in cases.load(path)["expected"]
        assert refused == (path.parent.name == "invalid"), path


def test_the_page_of_examples_is_up_to_date() -> None:
    assert render.DOCUMENT.read_text() == render.document(), "run python tests/decisions/render.py"


def test_every_exemplary_case_stands_in_a_chapter() -> None:
    chapters = [name for names in render.CHAPTERS.values() for name in names]
    assert sorted(chapters) == sorted(path.stem for path in cases.paths("exemplary"))


def test_files_are_written_as_the_page_shows_them() -> None:
    """So that a case is read as easily as the page, and a changed one is a small difference."""
    for path in EVERY:
        text = path.read_text()
        assert text == render.written(json.loads(text)) + "\n", path
