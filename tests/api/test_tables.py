"""CSV as RFC 4180 has it, and nothing in it that a spreadsheet would run."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.api import tables

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.lists(TEXTS | st.integers() | st.none(), min_size=2, max_size=4), min_size=1, max_size=4))
def test_what_is_written_is_read(rows: list[list[str | int | None]]) -> None:
    read = list(csv.reader(io.StringIO(tables.csv(rows).decode(), newline=""), strict=True))
    expected = [["" if cell is None else str(cell) for cell in row] for row in rows]
    plain = [[cell[1:] if cell[:2] in UNSAFE else cell for cell in row] for row in read]
    assert plain == expected or any(cell.startswith("'") for row in expected for cell in row)


UNSAFE = {f"'{sign}" for sign in "=+-@\t\r"}


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("http://x")'])
def test_a_formula_is_a_text(cell: str) -> None:
    (read,) = csv.reader(io.StringIO(tables.csv([[cell]]).decode(), newline=""))
    assert read == [f"'{cell}"]


def test_numbers_stay_numbers_and_lines_end_as_they_should() -> None:
    assert tables.csv([["a", "b"], [-5, None], ["x,y", 0.25]]) == b'a,b\r\n-5,\r\n"x,y",0.25\r\n'


@pytest.mark.parametrize(
    ("accept", "expected"),
    [("text/csv", True), ("text/csv; header=present", True), ("application/json, text/csv", False),
     ("*/*", False), ("", False),
     ("Text/CSV, application/json", True), ("text/html,text/csv;q=0.9", True)],
)  # fmt: skip
def test_csv_is_asked_for(accept: str, expected: bool) -> None:
    assert tables.wants_csv(accept) is expected
