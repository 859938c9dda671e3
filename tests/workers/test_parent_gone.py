"""Workers whose parent is killed end, in order if they can, and within ``limits.END_S`` in any case."""

from pathlib import Path

import pytest
from leading import WITHIN_S, Parent
from processes import ended
from unread import with_a_question_unread

pytestmark = pytest.mark.slow


@pytest.fixture
def parent(tmp_path: Path) -> Parent:
    """Not started yet."""
    (tmp_path / "data").mkdir()
    return Parent(tmp_path / "data", 2)


def test_who_was_asked_something_ends_all_the_same(parent: Parent) -> None:
    with parent as crew:
        workers = crew.pids()
        with with_a_question_unread(crew.port, max(workers)):
            crew.process.kill()
            crew.process.wait(WITHIN_S)
        assert ended(workers, WITHIN_S)
    told = crew.log.read_text()
    assert not [wrong for wrong in ("Timeout", "Traceback", "heard no more") if wrong in told], told


def test_whose_end_never_comes_is_gone_in_time(parent: Parent) -> None:
    parent.environment["FAKE_END_S"] = "1"
    with parent as crew:
        workers = crew.pids()
        (crew.data / "endless").touch()
        crew.process.kill()
        assert ended(workers, WITHIN_S)
    assert crew.log.read_text().count("Timeout (0:00:01)!") == 2, "and says where it stands"
