"""Which checkpoints are kept: the newest, and the first of each day, for so many days."""

from pathlib import Path

from adserver import checkpoints
from adserver.domain import limits
from adserver.domain.books import Position

DAY_MS = 86_400_000


def test_the_first_of_each_day_and_the_newest(tmp_path: Path) -> None:
    for segment, hour in enumerate((1, 5, 30, 40, 60, 61, 62), 1):
        checkpoints.keep(tmp_path, Position(segment, 0), hour * 3_600_000, b"content")
    assert [one.position.segment for one in checkpoints.kept(tmp_path)] == [1, 3, 5, 7]
    assert checkpoints.last_before(tmp_path, Position(4, 7)) == checkpoints.kept(tmp_path)[1]
    assert checkpoints.last_before(tmp_path, Position(1, 0)) == checkpoints.kept(tmp_path)[0]
    assert checkpoints.last_before(tmp_path, Position(0, 9)) is None


def test_no_more_days_than_that(tmp_path: Path) -> None:
    for day in range(limits.CHECKPOINT_DAYS + 5):
        checkpoints.keep(tmp_path, Position(day + 1, 0), day * DAY_MS, b"content")
    kept = checkpoints.kept(tmp_path)
    assert len(kept) == limits.CHECKPOINT_DAYS
    assert kept[-1].position.segment == limits.CHECKPOINT_DAYS + 5


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / checkpoints.FOLDER).mkdir()
    stranger = tmp_path / checkpoints.FOLDER / "mine.msgpack"
    stranger.write_bytes(b"")
    assert checkpoints.kept(tmp_path) == []
    checkpoints.keep(tmp_path, Position(1, 0), 1, b"content")
    assert stranger.exists()
