"""What this process can say of what it minted: whether it was given to anybody.

It can of what it finds: pages and answers that its journal brought back, and those it has given since. What
it does not find was being decided when an earlier life of it was killed, if an earlier life minted it; a
later one has not given it yet, takes it back, or has forgotten it, and then nothing is said.
"""

from typing import Protocol

from adserver.domain.errands import GIVEN, NOBODYS, UNSURE, Repeated
from adserver.domain.ids import minted_ms
from adserver.services.repeats import Repeats


class Pages(Protocol):
    """Of feeds, as the journal here has them."""

    def has(self, account: bytes, page: int, minted: bytes) -> bool: ...
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
        if self._has(of, now_ms):
            return GIVEN
        made_ms = minted_ms(of.minted)
        earlier = not self.began_ms <= made_ms <= self._latest_ms
        forgotten = max(now_ms, self._latest_ms) - made_ms >= of.kept_ms
        return NOBODYS if earlier and not forgotten else UNSURE

    def _has(self, of: Repeated, now_ms: int) -> bool:
        if of.page is None:
            repeat = self._repeats.find(of.key, now_ms)
            return repeat is not None and repeat.decision.request_id == of.minted
        if not self._pages.has(of.key, of.page, of.minted):
            return False
        # Whoever asks answers it again: so it is not forgotten here before it is there.
        self._pages.lived_on(of.key, now_ms)
        return True
