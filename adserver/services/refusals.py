"""A refusal: the caller's fault, told in full. The adapters turn it into problem+json (or whatever their
protocol says); anything else that is raised is ours and becomes a 500."""

from collections.abc import Iterable, Mapping
from typing import Any


class Refused(Exception):
    """``status``: an HTTP status from 400 to 499 (503 where we are full). ``errors``: (path, message) of
    everything that is wrong, at once; a path is written ``placements[0].feed.page``, "" is the whole.
    ``extra``: further members of the answer (RFC 9457), such as ``expected_page``."""

    def __init__(
        self,
        status: int,
        title: str,
        errors: Iterable[tuple[str, str]] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.errors = list(errors)
        self.extra = dict(extra or {})


def not_built(what: str) -> Refused:
    """What the contract reserves and no issue has built yet is refused, never ignored."""
    return Refused(400, f"{what} is not built yet", [(what, "not built yet: leave it out")])
