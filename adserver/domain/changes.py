"""What a change of the catalogue is answered: the object as kept, or why it was refused.

Here and not in the catalog, so that the use cases can speak of them without importing it.
"""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

KINDS: Final = ("advertiser", "campaign", "audience", "publisher", "placement", "rates")

Kind = Literal["advertiser", "campaign", "audience", "publisher", "placement", "rates"]


class Problem(Struct, frozen=True, order=True):
    """One thing wrong with a document. ``path`` is inside it, such as ``line_items[2].flight.end`` (empty:
    the whole); ``document`` is its file or full id where more than one document was looked at."""

    path: str
    message: str
    document: str = ""


class Invalid(Exception):
    """A document is refused; every problem is named."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.path}: {problem.message}" for problem in self.problems[:3]))


class Mismatch(Exception):
    """The object is not in the state the caller believed (If-Match, If-None-Match): 412."""


class Conflict(Exception):
    """The change is well formed but cannot be made now: 409."""


class Unwritten(Conflict):
    """Nothing can be written now: there is no room, somebody else writes, the database is away. Trying again
    helps: 503. Nothing was changed; or all of it, where the database went away just then."""


class Unread(Exception):
    """The database is away, and with it the catalogue; trying again helps: 503."""


class Stored(Struct, frozen=True):
    """An object of the catalogue. ``full_id``: ``advertiser``, ``advertiser/campaign``, ``owner/audience``,
    ``publisher``, ``publisher/placement`` or ``rates``; ``body`` is what GET shows; ``revision`` is that of
    its last change; ``created`` tells of a ``put`` that the object was not there before."""

    kind: Kind
    full_id: str
    body: dict[str, object]
    etag: str
    archived: bool
    revision: int
    created: bool = False


class Applied(Struct, frozen=True):
    """What ``apply`` did, in full ids with their kind: ``campaign voyages-lumiere/summer``."""

    created: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
