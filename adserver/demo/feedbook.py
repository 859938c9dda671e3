"""Law 1 from the answers alone: every feed page a client was given, against the policy as its file says it.

Nothing of the engine is used: an account is a list of positions, and every prefix and window that ends
with an ad is counted out. (One that ends with an organic item holds no more ads than a shorter one.)
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from adserver.domain.catalogue import Catalogue
from adserver.domain.inventory import FeedPolicy

Account = tuple[str, ...]


class Page(Struct, frozen=True):
    """A feed page as answered: positions with the advertiser of each ad."""

    number: int
    start: int
    next: int
    ads: tuple[tuple[int, str, str], ...]
    """(position, advertiser, event id)."""


class _Books(Struct):
    next: int
    pages: dict[int, Page]
    ads: list[tuple[int, str]]


class FeedBook:
    """``tell`` hears of every offence. ``pages``, ``items``, ``sponsored`` and ``repeats`` were checked."""

    def __init__(self, catalogue: Catalogue, tell: Callable[[str], None]) -> None:
        self.pages = self.items = self.sponsored = self.repeats = 0
        self._tell = tell
        self._accounts: dict[Account, _Books] = {}
        self._policies = {
            placement.full_id: placement.feed or FeedPolicy()
            for publisher in catalogue.publishers
            for placement in publisher.placements
            if placement.surface == "feed"
        }

    def policy(self, placement: str) -> FeedPolicy:
        return self._policies[placement]

    def account(self, placement: str, feed: str, session: str, person: str | None) -> Account:
        """Whose account it is: the session's and the person's, or with ``account: user`` the person's."""
        if self._policies[placement].account == "user" and person is not None:
            return (placement, feed, person)
        return (placement, feed, session, person or "")

    def next_page(self, account: Account) -> int:
        books = self._accounts.get(account)
        return len(books.pages) if books is not None else 0

    def forget(self, account: Account) -> None:
        """Nobody will ask for it any more, or it begins anew."""
        self._accounts.pop(account, None)

    def take(self, account: Account, page: Page) -> None:
        """The next page of an account, or one answered again."""
        where = f"{account[0]} page {page.number}"
        books = self._accounts.setdefault(account, _Books(0, {}, []))
        known = books.pages.get(page.number)
        if known is not None:
            self.repeats += 1
            if known != page:
                self._tell(f"{where}: answered again with something else")
            return
        if page.number != len(books.pages) or page.start != books.next:
            self._tell(f"{where}: begins at {page.start} where position {books.next} follows")
        self._check(where, self._policies[account[0]], books, page)
        books.pages[page.number], books.next = page, page.next
        self.pages += 1
        self.items += page.next - page.start

    def _check(self, where: str, policy: FeedPolicy, books: _Books, page: Page) -> None:
        if len(page.ads) > policy.max_per_page:
            self._tell(f"{where}: {len(page.ads)} ads, at most {policy.max_per_page}")
        for position, advertiser, _ in page.ads:
            if not page.start <= position < page.next:
                self._tell(f"{where}: an ad at {position}, outside of the page")
            for offence in _offences(policy, books.ads, position, advertiser):
                self._tell(f"{where}: ad at {position}: {offence}")
            books.ads.append((position, advertiser))
            self.sponsored += 1


def _offences(
    policy: FeedPolicy, before: Sequence[tuple[int, str]], position: int, advertiser: str
) -> list[str]:
    found = []
    share, ordinal, items = policy.max_share, len(before) + 1, position + 1
    if ordinal > share.num * (items + policy.head_start) // share.den:
        found.append(f"{ordinal} sponsored in the first {items} items, cap {share.text}")
    if position < policy.first_position:
        found.append(f"before first_position {policy.first_position}")
    if before and position - before[-1][0] - 1 < policy.min_gap:
        found.append(f"min_gap {policy.min_gap}")
    same = [earlier for earlier, owner in before if owner == advertiser]
    if same and position - same[-1] - 1 < policy.advertiser_gap:
        found.append(f"advertiser_gap {policy.advertiser_gap}")
    for number, (earlier, _) in enumerate(before, 1):
        width = position - earlier + 1
        if ordinal - number + 1 > share.num * width // share.den + policy.max_burst:
            found.append(f"{ordinal - number + 1} sponsored in {width} items, max_burst {policy.max_burst}")
            break
    return found
