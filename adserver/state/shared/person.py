"""What Redis knows of one person, as the very objects that hold everybody in a server that is alone.

So a decision is made by the same code, from what was known a moment ago, and what it comes to is *proposed*:
the exposures it granted, each with every cap it must satisfy, the feed page it laid out, the request id it
answers. ``scripts/admit.lua`` asks all of it again, of what is known then, in one step.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from adserver.domain import receipts
from adserver.domain.admission import Granted
from adserver.domain.errands import Repeated, digest_of
from adserver.domain.feeds import Answered
from adserver.domain.request import FeedAsk
from adserver.state.exposure import Exposure
from adserver.state.feeds import Account, FeedAccounts
from adserver.state.memory import MemoryState
from adserver.state.shared.keys import Who
from adserver.state.windows import Windows

Reply = Sequence[Any]
"""What ``known.lua`` says."""

_COUNTER: Final = msgspec.msgpack.Decoder(list[int])
_NO_PAGE: Final = -1


class Page(Struct, frozen=True):
    """A feed page decided on. ``expected``: the page the account goes on with, -1 where there is none."""

    account: bytes
    number: int
    expected: int
    answered: bytes
    track: bytes
    idle_ms: int
    told_ms: int


class Proposal(Struct, frozen=True):
    """All that a decision would write. ``answer``: to the request's id, encoded."""

    grants: tuple[tuple[Granted, Exposure], ...] = ()
    page: Page | None = None
    answer: bytes = b""

    @property
    def empty(self) -> bool:
        return not self.grants and self.page is None and not self.answer


class Person(MemoryState):
    """Their exposures. ``granted``: those of the decision being made."""

    def __init__(self, windows: Windows) -> None:
        super().__init__(windows)
        self.granted: dict[bytes, tuple[Granted, Exposure]] = {}

    def know(self, who: bytes | None, counters: Sequence[bytes]) -> None:
        """Counters of a subject or session, more of them where they are one: name, counter, name, ..."""
        if who is not None and counters:
            self.take_up(who, {**self._counters.get(who, {}), **dict(_counters(counters))})

    def bound(self, subject: bytes | None, outstanding: int) -> None:
        """So many exposures of theirs are outstanding."""
        self._change_outstanding(subject, outstanding)

    def give(self, granted: Granted, exposure: Exposure) -> None:
        super().give(granted, exposure)
        self.granted[granted.event_id] = granted, exposure

    def take_back(self, event_id: bytes) -> None:
        super().take_back(event_id)
        self.granted.pop(event_id, None)


class Accounts(FeedAccounts):
    """As Redis has them; ``own``: the pages that the journal here has."""

    def __init__(self, own: FeedAccounts) -> None:
        super().__init__()
        self._own = own

    def holds(self, last: Answered) -> bool:
        page = last.slot.feed
        return page is not None and page.journalled and self._own.kept(page.account, page.page) == last


class Known(Struct, frozen=True):
    """Of one person, as of a moment, for one request. ``answer``: to the request's id, encoded; empty where
    there is none; ``expected``: the page the feed account went on with, -1 where there was none; ``guessed``:
    Redis was not asked (``guessing``); ``in_doubt``: there may be more than this."""

    who: Who
    ask: FeedAsk | None
    now_ms: int
    exposures: Person
    feeds: FeedAccounts
    answer: bytes
    expected: int = _NO_PAGE
    guessed: bool = False
    in_doubt: bool = False

    def proposal(self, answer: bytes) -> Proposal:
        """What was granted and committed to this since it was read."""
        return Proposal(tuple(self.exposures.granted.values()), self.page(), answer)

    def again(self) -> Repeated | None:
        """The page asked for, where it was laid out before and the journal here does not have it, though one
        must."""
        return None if self.guessed or self.ask is None else self._laid_out(self.ask.page)

    def last(self, since_ms: int) -> Repeated | None:
        """The last page in the same way, where the account was not touched since."""
        account = self.feeds.find_any(self.ask.account) if self.ask is not None else None
        if self.guessed or account is None or account.touched_ms >= since_ms:
            return None
        return self._laid_out(account.next_page - 1)

    def _laid_out(self, number: int) -> Repeated | None:
        ask = self.ask
        account = self.feeds.find_any(ask.account) if ask is not None else None
        if ask is None or account is None or number not in account.pages:
            return None
        page = self.feeds.answered(ask.account, number, self.now_ms)
        if page is None or page.slot.feed is None or not page.slot.feed.journalled or self.feeds.holds(page):
            return None
        kept_ms = receipts.read(page.slot.feed.receipt).rules.account_idle_ms
        return Repeated(page.origin.request_id, ask.account, number, kept_ms, digest_of(page))

    def page(self) -> Page | None:
        """The page asked for, if it was committed since."""
        ask = self.ask
        account = self.feeds.find_any(ask.account) if ask is not None else None
        if ask is None or account is None or account.next_page <= max(self.expected, ask.page):
            return None
        return Page(
            ask.account, ask.page, self.expected, account.pages[ask.page],
            account.track, account.idle_ms, account.told_ms,
        )  # fmt: skip


def known(
    reply: Reply, who: Who, ask: FeedAsk | None, windows: Windows, now_ms: int, own: FeedAccounts
) -> Known:
    """``own``: the pages that the journal here has. Raises ValueError for what is no answer of the
    script's."""
    outstanding, subject, session, account, answer = reply
    person, feeds, expected = Person(windows), Accounts(own), _NO_PAGE
    person.know(who.subject, subject)
    person.know(who.session, session)
    person.bound(who.subject, outstanding)
    if ask is not None and account:
        found = _account(account, ask.page)
        feeds.take_up(ask.account, found)
        expected = found.next_page
    return Known(who, ask, now_ms, person, feeds, answer, expected)


def copied(account: Account, asked: int) -> Account:
    """An account as far as a request for page ``asked`` needs it."""
    last = account.next_page - 1
    pages = {number: account.pages[number] for number in (asked, last) if number in account.pages}
    return msgspec.structs.replace(account, pages=pages)


def _counters(flat: Sequence[bytes]) -> Iterable[tuple[str, list[int]]]:
    """Without how long they are kept, which only whoever forgets must know."""
    for name, packed in zip(flat[::2], flat[1::2], strict=True):
        yield name.decode(), _COUNTER.decode(packed)[1:]


def _account(reply: Sequence[bytes], asked: int) -> Account:
    following, track, idle_ms, touched_ms, told_ms, page, last = reply
    number, pages = int(following), dict[int, bytes]()
    if page:
        pages[asked] = page
    if last:
        pages[number - 1] = last
    return Account(pages, number, track, int(touched_ms), int(idle_ms), int(told_ms))
