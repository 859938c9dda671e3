"""A folder of campaign files (API.md section 5): found, read, and examined as a whole."""

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from adserver.catalog.documents import SUFFIXES, read_file
from adserver.catalog.drafts import Draft, Key, address, read
from adserver.catalog.findings import shown
from adserver.catalog.whole import Documents, Held, examine, missing_advertisers
from adserver.domain import limits
from adserver.domain.changes import Invalid, Kind, Problem

_MEMBERS_BYTES: Final = 1 << 30
_HEADERS: Final = frozenset(("user_id", "user", "users", "id"))


class Folder(Struct, frozen=True):
    """What a folder holds. ``files`` maps an object to the file it stands in; problems name files.
    ``problems`` are those of single documents; ``dangling`` those between them, which do not matter where
    the catalog holds what the folder lacks."""

    drafts: tuple[Draft, ...]
    files: dict[Key, str]
    problems: tuple[Problem, ...]
    dangling: tuple[Problem, ...]


def read_folder(root: Path) -> Folder:
    """Everything in ``root`` and everything wrong with it; nothing is raised for a bad document.
    Raises NotADirectoryError if there is no such folder."""
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder")
    reading = _Reading(root)
    for kind, path in _documents(root, reading.problems):
        reading.take(kind, path)
    return reading.finish()


def _documents(root: Path, problems: list[Problem]) -> Iterator[tuple[Kind | None, Path]]:
    """The documents of the folder in a fixed order. None for the kind: advertiser or campaign."""
    kinds: dict[str, Kind] = {"publishers": "publisher", "audiences": "audience"}
    for entry in _entries(root, root, problems):
        if os.path.isdir(entry):  # noqa: PTH112 - Path.is_dir raises where a folder may not be searched
            for path in _entries(root, entry, problems):
                if _is_document(path):
                    yield kinds.get(entry.name), path
        elif entry.stem == "rates" and _is_document(entry):
            yield "rates", entry
        elif _is_document(entry):
            message = "is not expected here; campaigns stand in <advertiser>/<campaign>.yaml"
            problems.append(Problem("", message, entry.name))


def _entries(root: Path, folder: Path, problems: list[Problem]) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        name = folder.relative_to(root).as_posix()
        problems.append(Problem("", f"cannot be read: {error.strerror}", name))
        return []


def _is_document(path: Path) -> bool:
    """By its name; whether it can be read is seen, and said, when it is."""
    return path.suffix in SUFFIXES and not path.name.startswith(".") and not os.path.isdir(path)  # noqa: PTH112 - as above


class _Reading:
    """Reads file after file and keeps what was found."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts: list[Draft] = []
        self._files: dict[Key, str] = {}
        self.problems: list[Problem] = []

    def take(self, kind: Kind | None, path: Path) -> None:
        name = path.relative_to(self._root).as_posix()
        try:
            body = read_file(path)
        except Invalid as refusal:
            self.problems += [Problem(problem.path, problem.message, name) for problem in refusal.problems]
            return
        if kind is None:
            kind = "advertiser" if path.stem == "advertiser" else "campaign"
            self._check_place(kind, body, path, name)
        if kind == "audience":
            self._members(body, path, name)
        full_id = address(kind, body)
        drafts, problems = read(kind, full_id, body)
        self.problems += [Problem(problem.path, problem.message, name) for problem in problems]
        if full_id is not None:
            for draft in drafts:
                self._keep(draft, name)

    def _check_place(self, kind: Kind, body: dict[str, object], path: Path, name: str) -> None:
        """A file's place names what is in it: ``<advertiser>/<campaign>.yaml``."""
        expected = {"advertiser": path.parent.name}
        if kind == "campaign":
            expected["campaign"] = path.stem
        for field, value in expected.items():
            given = body.get(field)
            if isinstance(given, str) and given != value:
                message = f"is {shown(given)}, but the file's place says {shown(value)}; make them the same"
                self.problems.append(Problem(field, message, name))

    def _keep(self, draft: Draft, name: str) -> None:
        other = self._files.get(draft.key)
        if other is None:
            self._files[draft.key] = name
            self._drafts.append(draft)
        elif other != name:
            message = f"the {draft.kind} {shown(draft.full_id)} stands already in {other}; ids are unique"
            self.problems.append(Problem(draft.path, message, name))

    def _members(self, body: dict[str, object], path: Path, name: str) -> None:
        """Put the users of ``members_file`` into the body."""
        given = body.get("members_file")
        if given is None:
            return
        del body["members_file"]
        try:
            if "users" in body:
                raise ValueError("stands beside users; name the members in one of them")
            body["users"] = _read_members(path.parent, given)
        except ValueError as error:
            self.problems.append(Problem("members_file", str(error), name))

    def finish(self) -> Folder:
        held = {draft.key: Held(draft) for draft in self._drafts}
        for advertiser in missing_advertisers(self._drafts, Documents(held)):
            draft = read("advertiser", advertiser, {})[0][0]
            held[draft.key] = Held(draft)
        dangling = name_files(examine(held), self._files)
        return Folder(tuple(self._drafts), self._files, _ordered(self.problems), _ordered(dangling))


def name_files(problems: Iterable[Problem], files: dict[Key, str]) -> list[Problem]:
    """Problems between documents, under the names of their files where they have some."""
    names = {f"{kind} {full_id}": file for (kind, full_id), file in files.items()}
    return [
        Problem(problem.path, problem.message, names.get(problem.document, problem.document))
        for problem in problems
    ]


def _ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each once, file by file, in the order of finding."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.document))


def _read_members(folder: Path, given: object) -> list[object]:
    """The first column of a CSV file beside the document; a header line naming it is passed over."""
    if not isinstance(given, str) or Path(given).name != given or given in ("", ".", ".."):
        raise ValueError(f"{shown(given)} is not the name of a file beside this one")
    try:
        path = folder / given
        if path.stat().st_size > _MEMBERS_BYTES:
            raise ValueError(f"{shown(given)} is larger than {_MEMBERS_BYTES} bytes")
        with path.open(encoding="utf-8-sig", newline="") as lines:
            users: list[object] = [row[0].strip() for row in csv.reader(lines) if row and row[0].strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a CSV file in UTF-8"
        raise ValueError(f"{shown(given)} cannot be read: {reason}") from error
    if users and str(users[0]).casefold() in _HEADERS:
        del users[0]
    if len(users) > limits.MEMBERS_PER_AUDIENCE:
        raise ValueError(f"{shown(given)} names {len(users)} users; at most {limits.MEMBERS_PER_AUDIENCE}")
    return users
