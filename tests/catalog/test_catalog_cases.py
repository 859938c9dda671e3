"""Every rule of the documents: a file of cases a kind, each a change of a valid document and the problems
that must be found, no more and no fewer."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adserver.catalog.documents import parse_yaml
from adserver.catalog.drafts import read

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def cases() -> Iterator[Any]:
    for path in CASES:
        sheet: Any = parse_yaml(path.read_bytes())
        for case in sheet["cases"]:
            yield pytest.param(sheet, case, id=f"{path.stem}: {case['name']}")


def change(body: Any, path: str, value: object) -> None:
    """Set what stands at ``path``; None takes it away."""
    steps = [name or int(place) for name, place in STEP.findall(path)]
    for step in steps[:-1]:
        body = body[step] if isinstance(step, int) else body.setdefault(step, {})
    if value is None:
        del body[steps[-1]]
    else:
        body[steps[-1]] = value


@pytest.mark.parametrize(("sheet", "case"), list(cases()))
def test_case(sheet: Any, case: Any) -> None:
    body = copy.deepcopy(sheet["base"])
    for path, value in case["set"].items():
        change(body, path, value)
    if sheet["kind"] == "audience" and "members_file" in body:
        del body["users"]
    _, problems = read(sheet["kind"], sheet["full_id"], body)
    found = {problem.path: problem.message for problem in problems}
    assert found.keys() == case["problems"].keys(), found
    assert len(found) == len(problems)
    for path, part in case["problems"].items():
        assert part in found[path]


def test_reading_leaves_the_document_alone() -> None:
    sheet: Any = parse_yaml(CASES[2].read_bytes())
    before = copy.deepcopy(sheet["base"])
    read(sheet["kind"], sheet["full_id"], sheet["base"])
    assert sheet["base"] == before
