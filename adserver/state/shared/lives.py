"""What an earlier life of this process agreed on with Redis and did not live to journal: it was killed
between the script's yes and the journal. Of its exposures nobody hears again, and they expire; but a page or
an answer would be given to whoever asks again, with ads of which no journal knows. This process alone can
tell: what it minted before it began, and does not find in what it recovered, was given to nobody.
"""

from adserver.domain.ids import minted_ms, owner_of
from adserver.state.shared.keys import Who
from adserver.state.shared.mirror import Unsaid
from adserver.state.shared.paging import Paging
from adserver.state.shared.person import Known


class Life:
    """That began at ``began_ms``; ``paging``: the pages that were recovered, and those since."""

    def __init__(self, worker: int, paging: Paging, began_ms: int) -> None:
        self._worker = worker
        self._paging = paging
        self._began_ms = began_ms

    def lives(self, now_ms: int) -> None:
        """What is minted from now on is this life's, also where the clock was set back."""
        self._began_ms = min(self._began_ms, now_ms)

    def earlier(self, minted: bytes) -> bool:
        return owner_of(minted) == self._worker and minted_ms(minted) < self._began_ms

    def nobodys(self, who: Who, known: Known) -> Unsaid | None:
        """The last page of the account asked about, if nobody was given it."""
        ask = known.ask
        account = None if ask is None else known.feeds.find_any(ask.account)
        # What was asked for since was given, and may be forgotten here, as it was asked for elsewhere.
        if ask is None or account is None or account.touched_ms >= self._began_ms:
            return None
        number = account.next_page - 1
        page = known.feeds.answered(ask.account, number, known.now_ms)
        if page is None or page.slot.feed is None or not page.slot.feed.journalled:
            return None
        minted, own = page.origin.request_id, self._paging.find_any(ask.account)
        if not self.earlier(minted) or account.touched_ms != minted_ms(minted):
            return None
        if own is not None and number in own.pages:
            return None
        return Unsaid(who, ask.account, number, account.pages[number])
