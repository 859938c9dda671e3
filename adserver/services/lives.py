"""What this process can say of what it minted: whether it was given to anybody.

It can of what it finds: pages and answers that its journal brought back, and those it has given since. What
it does not find was being decided when an earlier life of it was killed, if an earlier life minted it; a
later one has not given it yet, takes it back, or has forgotten it, and then nothing is said.
"""

from typing import Protocol

from msgspec import Struct

from adserver.domain.errands import GIVEN, NOBODYS, UNSURE, Repeated, digest_of
from adserver.domain.feeds import Answered
from adserver.domain.ids import minted_ms
from adserver.services.repeats import Repeats


class Pages(Protocol):
    """Of feeds, as the journal here has them."""

    def kept(self, account: bytes, page: int) -> Answered | None: ...
    def lived_on(self, account: bytes, now_ms: int) -> None: ...


class Life:
    """That began at ``began_ms``, having read its journal; ``pages`` and ``repeats``: what was given."""

    def __init__(self, pages: Pages, repeats: Repeats, began_ms: int) -> None:
        self.began_ms = self._latest_ms = began_ms
        self._pages = pages
        self._repeats = repeats

    def lives(self, now_ms: int) -> None:
        """What is minted from now on is this life's, also where the clock was set."""
        if now_ms > self._latest_ms:
            self._latest_ms = now_ms
        elif now_ms < self.began_ms:
            self.began_ms = now_ms

    def says(self, of: Repeated, now_ms: int) -> bytes:
        """Of what a life of this process minted."""
        given = self._given(of, now_ms)
        if given is not None:
            return GIVEN if digest_of(given) == of.digest else UNSURE
        made_ms = minted_ms(of.minted)
        earlier = not self.began_ms <= made_ms <= self._latest_ms
        forgotten = max(now_ms, self._latest_ms) - made_ms >= of.kept_ms
        return NOBODYS if earlier and not forgotten else UNSURE

    def _given(self, of: Repeated, now_ms: int) -> Struct | None:
        """What was given under its id in its place."""
        if of.page is None:
            repeat = self._repeats.find(of.key, now_ms)
            return repeat if repeat is not None and repeat.decision.request_id == of.minted else None
        page = self._pages.kept(of.key, of.page)
        if page is None or page.origin.request_id != of.minted:
            return None
        # Whoever asks answers it again: so it is not forgotten here before it is there.
        self._pages.lived_on(of.key, now_ms)
        return page
