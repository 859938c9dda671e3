"""What this process itself knows of a person, taken for all there is: then nothing need be asked before a
decision, and it costs one round trip instead of two.

That is so where a person's requests come to the same process, and of everybody new; and where it is not, no
law depends on it: the script asks every cap and the feed's account again, and answers with what there is. Who
was found to be known elsewhere is asked about from then on.
"""

from typing import Final

from adserver.domain import limits
from adserver.domain.request import FeedAsk
from adserver.state.feeds import FeedAccounts
from adserver.state.shared.keys import Who
from adserver.state.shared.mirror import Mirror
from adserver.state.shared.paging import Paging
from adserver.state.shared.person import Known, copied

_KEPT: Final = limits.PEOPLE_KNOWN_ELSEWHERE // 2


class Guessing:
    """By a worker's own mirror and pages. Those who are known elsewhere are kept in two generations, and the
    older goes when the younger is full."""

    def __init__(self, mirror: Mirror, paging: Paging) -> None:
        self._mirror = mirror
        self._paging = paging
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def guess(self, who: Who, ask: FeedAsk | None, now_ms: int) -> Known | None:
        """None: Redis is to be asked."""
        root = who.root
        if root in self._young or root in self._old:
            return None
        person = self._mirror.person(who, now_ms)
        if ask is None:
            return Known(who, None, now_ms, person, FeedAccounts(), b"", guessed=True)
        account = self._paging.find(ask.account, now_ms)
        if account is None:
            return None if ask.page else Known(who, ask, now_ms, person, FeedAccounts(), b"", guessed=True)
        if ask.page != account.next_page and ask.page not in account.pages:
            return None
        feeds = FeedAccounts()
        feeds.take_up(ask.account, copied(account, ask.page))
        return Known(who, ask, now_ms, person, feeds, b"", account.next_page, guessed=True)

    def wrong(self, root: bytes) -> None:
        if len(self._young) >= _KEPT:
            self._old, self._young = self._young, set()
        self._young.add(root)
