"""The files of a journal: their names, and what must be of them beside frames."""

from pathlib import Path

from adserver.ledger.segments import Damage, Header


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:08d}.seg"


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments there, ascending."""
    return sorted(int(path.stem) for path in directory.glob("[0-9]" * 8 + ".seg"))


def follows(directory: Path, number: int) -> bool:
    """Whether there is a segment behind this one. Raises Damage where only later ones are."""
    numbers = segment_numbers(directory)
    if segment_path(directory, number + 1).exists():
        return True
    if numbers and numbers[-1] > number:
        raise Damage(number + 1, 0, "the segment is missing")
    return False


def check_rest(path: Path, header: Header, offset: int) -> None:
    """Behind the seal, which ends at ``offset``, stand zeros up to the size that the file was begun with.
    Raises Damage."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        rest = file.read()
    size = offset + len(rest)
    if header.size not in (0, size):
        said = f"the file has {size} bytes, it was begun with {header.size}"
        raise Damage(header.number, min(size, header.size), said)
    if any(rest):
        at = size - len(rest.lstrip(b"\0"))
        raise Damage(header.number, at, "something stands behind the seal")
