"""Law 1, audited from the journal: the positions that were answered, against the rules as they are written.

Written for clarity, not with the engine's arithmetic: an account is the list of its ads, and every new ad
is compared with all before it. It suffices to judge ads: a prefix or window that ends with an organic
item holds no more ads than a shorter one that ends with an ad. Each ad is judged by the policy its
placement had when the page was decided; windows only between ads under the same policy, since a policy
made stricter says nothing about what was shown before. Of an account that a receipt continued, the
journal may not know the beginning: then prefixes are not judged, everything else is. Nor need pages stand in
any journal that a process was killed with, and another went on from: what is known is judged without them.

Pages answered again are compared with what was first answered. They are journalled only along with
something new, so an account may have lived on while the journal was silent: after the idle time, both
going on and beginning anew are right. Cost: a comparison per pair of ads of one account.
"""

from collections.abc import Callable

from msgspec import Struct

from adserver.domain import ids
from adserver.domain.decision import Ad, Decision, FeedPage, Slot
from adserver.domain.records import Decided, LineItemTerms, PlacementTerms, Record

LIVE = 0


class Shown(Struct, frozen=True):
    """An ad in an account. ``number`` counts the account's ads from 1."""

    position: int
    number: int
    advertiser: int
    policy: PlacementTerms


class Account(Struct):
    """``whole``: known from position 0 on."""

    next: int
    whole: bool
    ads: list[Shown]
    pages: dict[int, tuple[Ad, ...]]
    touched_ms: int


class FeedAudit:
    """Takes every record in order; tells each offence. ``pages`` and ``ads`` count what was judged."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.pages = 0
        self.ads = 0
        self._tell = tell
        self._policies: dict[int, PlacementTerms] = {}
        self._advertisers: dict[int, int] = {}
        self._accounts: dict[tuple[int, bytes], Account] = {}

    def take(self, record: Record) -> None:
        if isinstance(record, PlacementTerms):
            self._policies[record.serial] = record
        elif isinstance(record, LineItemTerms):
            self._advertisers[record.serial] = record.advertiser
        elif isinstance(record, Decided) and record.decision.mode == LIVE:
            for slot in record.decision.slots:
                if slot.feed is not None:
                    self._slot(record.decision, slot, slot.feed)

    def _slot(self, decision: Decision, slot: Slot, page: FeedPage) -> None:
        where = (
            f"feed {slot.placement_id}/{page.feed_id} page {page.page} of {ids.encode(decision.request_id)}"
        )
        account = self._accounts.get((slot.placement, page.account))
        if slot.repeated is not None:
            self._repeated(account, slot, page, where, decision.now_ms)
            return
        policy = self._policies.get(slot.placement)
        if policy is None or policy.share_num == 0:
            self._tell(f"{where}: no feed policy was in force")
            return
        account = self._continue(account, policy, slot, page, where, decision.now_ms)
        self._page(account, policy, slot, page, where)
        account.next, account.touched_ms = page.next, decision.now_ms
        account.pages[page.page] = slot.ads
        self.pages += 1

    def _repeated(self, account: Account | None, slot: Slot, page: FeedPage, where: str, now_ms: int) -> None:
        before = account.pages.get(page.page) if account is not None else None
        if before is not None and before != slot.ads:
            self._tell(f"{where}: answered again with other ads")
        if account is not None:
            account.touched_ms = now_ms

    def _continue(
        self,
        known: Account | None,
        policy: PlacementTerms,
        slot: Slot,
        page: FeedPage,
        where: str,
        now_ms: int,
    ) -> Account:
        """The account this page goes on with, perhaps a new one."""
        alive = known is not None and now_ms - known.touched_ms <= policy.account_idle_ms
        if known is not None and page.page:
            skips = alive and page.continued and page.start > known.next
            if skips or page.start == known.next:
                return known
        fresh = Account(page.start, page.start == 0, [], {}, now_ms)
        if page.page != 0 or page.start != 0:
            expected = known.next if known is not None else 0
            if alive or not page.continued:
                self._tell(f"{where}: begins at position {page.start} where {expected} follows")
        elif known is not None and alive:
            self._tell(f"{where}: begins anew {now_ms - known.touched_ms} ms after the account's last page")
        self._accounts[slot.placement, page.account] = fresh
        return fresh

    def _page(self, account: Account, policy: PlacementTerms, slot: Slot, page: FeedPage, where: str) -> None:
        positions = [ad.position for ad in slot.ads]
        if page.sponsored != len(positions) or page.next - page.start != page.organic + page.sponsored:
            self._tell(
                f"{where}: {page.organic} organic and {len(positions)} sponsored items "
                f"do not fill positions {page.start} to {page.next - 1}"
            )
        if positions != sorted(set(positions)) or any(not page.start <= p < page.next for p in positions):
            self._tell(f"{where}: ads at {positions} outside {page.start} to {page.next - 1} or out of order")
        if policy.max_per_page and len(positions) > policy.max_per_page:
            self._tell(f"{where}: {len(positions)} ads, max_per_page {policy.max_per_page}")
        for ad in slot.ads:
            number = len(account.ads) + 1
            shown = Shown(ad.position, number, self._advertisers.get(ad.line_item, 0), policy)
            for offence in _offences(account, shown):
                self._tell(f"{where}: ad {ad.index} at position {ad.position}: {offence}")
            account.ads.append(shown)
            self.ads += 1


def _offences(account: Account, ad: Shown) -> list[str]:
    """What is wrong with one more ad in this account."""
    policy, found = ad.policy, []
    items = ad.position + 1
    allowed = policy.share_num * (items + policy.head_start) // policy.share_den
    if account.whole and ad.number > allowed:
        found.append(f"{ad.number} sponsored in the first {items} items, max_share allows {allowed}")
    if ad.position < policy.first_position:
        found.append(f"before first_position {policy.first_position}")
    if account.ads:
        between = ad.position - account.ads[-1].position - 1
        if between < policy.min_gap:
            found.append(f"{between} organic items behind the ad before, min_gap {policy.min_gap}")
    found += _bursts(account, ad)
    same = [shown.position for shown in account.ads if shown.advertiser == ad.advertiser]
    if same and ad.position - same[-1] - 1 < policy.advertiser_gap:
        between = ad.position - same[-1] - 1
        found.append(f"{between} items behind the advertiser's last, advertiser_gap {policy.advertiser_gap}")
    return found


def _bursts(account: Account, ad: Shown) -> list[str]:
    """The first window from an earlier ad to this one that holds too many."""
    policy = ad.policy
    for first in account.ads:
        if _rule(first.policy) != _rule(policy):
            continue
        width, sponsored = ad.position - first.position + 1, ad.number - first.number + 1
        allowed = policy.share_num * width // policy.share_den + policy.max_burst
        if sponsored > allowed:
            return [
                f"{sponsored} sponsored in {width} items from {first.position}, max_burst allows {allowed}"
            ]
    return []


def _rule(policy: PlacementTerms) -> tuple[int, int, int]:
    return policy.share_num, policy.share_den, policy.max_burst
