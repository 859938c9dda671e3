"""Feed accounts in memory: every page answered, and where each account goes on.

One event loop owns this object and never awaits between ``turn`` and ``commit``, so the pair is one
atomic step. Reading leaves no trace (a dry run only reads); ``touch`` and ``commit`` are what makes an
account live on. Pages and tracks are kept as MessagePack: a third of the bytes of live objects, and
nothing for the garbage collector to walk. About 0.8 KB for an account with one page and 0.4 KB for each
further one (tests/state/test_feeds.py measures); idle accounts go by ``sweep``.

Idle accounts are found by a calendar of due minutes, each with the accounts to look at then. Every
account stands in it exactly once: whoever was touched since is put under its new minute. So sweeping
costs O(1) an account and idle time, whatever the mix of idle times (Varghese and Lauck's timer wheel,
1987, with a heap for a hand).
"""

import heapq
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Struct

from adserver.domain import receipts
from adserver.domain.decision import Decision, FeedPage, Origin
from adserver.domain.feeds import Ahead, Answered, Standing, Track
from adserver.domain.records import Decided
from adserver.domain.request import FeedAsk

__all__ = ["Account", "FeedAccounts"]

_MINUTE_MS: Final = 60_000
_TOLD_MS: Final = 60_000
"""How much of an account's life a restart may forget: repeated pages are journalled this rarely."""
_VERSION: Final = 1


class Account(Struct, array_like=True, gc=False):
    """``pages``: page number -> encoded Answered; holes where a receipt knew more than state did.
    ``told_ms``: up to when the journal knows that the account lived."""

    pages: dict[int, bytes]
    next_page: int
    track: bytes
    touched_ms: int
    idle_ms: int
    told_ms: int = 0


class _Dump(Struct, array_like=True):
    """``roots``: whose accounts they are, for those who keep them by person."""

    version: int
    accounts: list[tuple[bytes, Account]]
    roots: dict[bytes, bytes] = {}


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_ANSWERED: Final = msgspec.msgpack.Decoder(Answered)
_TRACK: Final = msgspec.msgpack.Decoder(Track)
_DUMP: Final = msgspec.msgpack.Decoder(_Dump)


class FeedAccounts:
    """``roots``: whose an account is, where that is known (``shared.paging``)."""

    def __init__(self) -> None:
        self.roots: dict[bytes, bytes] = {}
        self._accounts: dict[bytes, Account] = {}
        self._due: dict[int, list[bytes]] = {}
        self._minutes: list[int] = []

    def __len__(self) -> int:
        return len(self._accounts)

    def find(self, account: bytes, now_ms: int) -> Account | None:
        """The live account; None if unknown or idle for longer than its policy allows."""
        found = self._accounts.get(account)
        if found is None or now_ms - found.touched_ms > found.idle_ms:
            return None
        return found

    def find_any(self, account: bytes) -> Account | None:
        """Idle or not."""
        return self._accounts.get(account)

    def take_up(self, key: bytes, account: Account) -> None:
        """An account as somebody else kept it."""
        self._adopt(key, account)

    def items(self) -> Iterable[tuple[bytes, Account]]:
        return self._accounts.items()

    def turn(
        self,
        ask: FeedAsk,
        now_ms: int,
        open_receipt: Callable[[FeedAsk], Standing | None] | None = None,
    ) -> Answered | Standing:
        """What page ``ask.page`` is: Answered before, or to be decided from a Standing. ``open_receipt``
        is asked only for an account that is unknown or expired; it returns where a valid receipt of the
        page before lets it go on, else None. A live account knows better than any receipt: one of an
        earlier life would set it back. Raises Ahead. Changes nothing."""
        account = self.find(ask.account, now_ms)
        if account is not None and (page := account.pages.get(ask.page)) is not None:
            return _ANSWERED.decode(page)
        if account is not None:
            if ask.page != account.next_page:
                raise Ahead(account.next_page)
            return self._standing(account)
        if ask.page == 0:
            return Standing()
        standing = open_receipt(ask) if open_receipt is not None else None
        if standing is None:
            raise Ahead(0)
        return standing

    def _standing(self, account: Account) -> Standing:
        last = _ANSWERED.decode(account.pages[account.next_page - 1])
        return Standing(_TRACK.decode(account.track), _page(last).receipt, not self.holds(last))

    def holds(self, last: Answered) -> bool:
        """Whether the journal has this page, which an account goes on from."""
        return _page(last).journalled

    def answered(self, account: bytes, page: int, now_ms: int) -> Answered | None:
        """The page as it was answered. Changes nothing."""
        found = self.find(account, now_ms)
        kept = None if found is None else found.pages.get(page)
        return None if kept is None else _ANSWERED.decode(kept)

    def touch(self, account: bytes, now_ms: int) -> bool:
        """A page was answered again: a live account lives on from now. Whether the journal should be told,
        so that a restart knows it too."""
        found = self.find(account, now_ms)
        return found is not None and _live_on(found, now_ms)

    def kept(self, account: bytes, page: int) -> Answered | None:
        """The page as it was answered, idle or not."""
        found = self._accounts.get(account)
        kept = None if found is None else found.pages.get(page)
        return None if kept is None else _ANSWERED.decode(kept)

    def lived_on(self, account: bytes, now_ms: int) -> None:
        """It is known to have lived until now, though the journal was not told each time (``_TOLD_MS``)."""
        found = self._accounts.get(account)
        if found is not None:
            found.touched_ms = max(found.touched_ms, now_ms)

    def commit(self, answered: Answered, track: Track, now_ms: int, idle_ms: int) -> None:
        """Keep a page just decided; ``track`` is what it left behind. Its ``feed.continued`` must tell
        whether ``turn`` took it from a receipt. Raises ValueError for a page that is not the next."""
        page = _page(answered)
        account = self.find(page.account, now_ms)
        expected = 0 if account is None else account.next_page
        if page.page != expected and not (page.continued and page.page > expected):
            raise ValueError(f"page {page.page} committed where page {expected} is next")
        self._keep(account, page, answered, track, now_ms, idle_ms)

    def restore(
        self, decided: Decided, origin_of: Callable[[Decision], Origin], root: bytes | None = None
    ) -> None:
        """Take up a decision from the journal: in its order, each once, all that lie behind the dump that
        was loaded. ``origin_of`` tells what the URLs of a decision depend on. The record rules: an account
        that looks idle may have been touched by repeated answers, which nobody journals. ``root``: whose
        account it is, for those who keep them by person."""
        decision = decided.decision
        origin = origin_of(decision)
        for slot in decision.slots:
            page = slot.feed
            if page is None:
                continue
            known = self._accounts.get(page.account)
            if slot.repeated is not None:
                if known is not None:
                    _live_on(known, decision.now_ms)
                continue
            if page.page == 0 or (page.continued and self.find(page.account, decision.now_ms) is None):
                known = None
            receipt = receipts.read(page.receipt)
            idle_ms = receipt.rules.account_idle_ms
            self._keep(known, page, Answered(slot, origin), receipt.track, decision.now_ms, idle_ms)

    def _keep(
        self,
        account: Account | None,
        page: FeedPage,
        answered: Answered,
        track: Track,
        now_ms: int,
        idle_ms: int,
    ) -> None:
        encoded = _ENCODE(answered)
        if account is None:
            account = Account({}, 0, b"", now_ms, idle_ms)
            self._adopt(page.account, account)
        account.pages[page.page] = encoded
        account.next_page = page.page + 1
        account.track = _ENCODE(track)
        account.touched_ms = account.told_ms = max(account.touched_ms, now_ms)
        account.idle_ms = idle_ms

    def _adopt(self, key: bytes, account: Account) -> None:
        if key not in self._accounts:
            self._schedule(key, account)
        self._accounts[key] = account

    def _schedule(self, key: bytes, account: Account) -> None:
        minute = (account.touched_ms + account.idle_ms + _TOLD_MS) // _MINUTE_MS + 1
        keys = self._due.get(minute)
        if keys is None:
            keys = self._due[minute] = []
            heapq.heappush(self._minutes, minute)
        keys.append(key)

    def sweep(self, now_ms: int, most: int = 1000) -> int:
        """Look at ``most`` accounts that may be idle by now, drop those that are. Returns how many were
        looked at; fewer than ``most`` when nothing is left to do."""
        looked = 0
        while looked < most and self._minutes and self._minutes[0] * _MINUTE_MS <= now_ms:
            keys = self._due[self._minutes[0]]
            while keys and looked < most:
                looked += 1
                self._look_at(keys.pop(), now_ms)
            if not keys:
                del self._due[heapq.heappop(self._minutes)]
        return looked

    def _look_at(self, key: bytes, now_ms: int) -> None:
        account = self._accounts[key]
        # Not at once: it may have been touched since, as far as the journal tells.
        if now_ms - account.touched_ms > account.idle_ms + _TOLD_MS:
            del self._accounts[key]
        else:
            self._schedule(key, account)

    def dump(self) -> bytes:
        """Everything, for a checkpoint."""
        return _ENCODE(_Dump(_VERSION, list(self._accounts.items()), self.roots))

    def load(self, dumped: bytes) -> None:
        """Take up a dump in place of what is here. Raises ValueError for what is no dump of ours."""
        try:
            dump = _DUMP.decode(dumped)
        except msgspec.MsgspecError as error:
            raise ValueError("not a dump of feed accounts") from error
        if dump.version != _VERSION:
            raise ValueError(f"a dump of version {dump.version}")
        self._accounts, self._due, self._minutes, self.roots = {}, {}, [], dump.roots
        for key, account in dump.accounts:
            self._adopt(key, account)


def _live_on(account: Account, now_ms: int) -> bool:
    """Whether what the journal knows of it is too old."""
    account.touched_ms = max(account.touched_ms, now_ms)
    stale = now_ms - account.told_ms >= _TOLD_MS
    if stale:
        account.told_ms = now_ms
    return stale


def _page(answered: Answered) -> FeedPage:
    page = answered.slot.feed
    if page is None:
        raise ValueError("not a slot of a feed")
    return page
