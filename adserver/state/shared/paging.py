"""The feed pages this process itself has answered, and whose they are: what a store that lost its memory is
told again, and what is answered while it is away. Pages of one account may be of several processes."""

from collections.abc import Callable

from adserver.domain.decision import Decision, Origin
from adserver.domain.records import Decided
from adserver.state.feeds import Account, FeedAccounts
from adserver.state.shared.person import Page


class Paging(FeedAccounts):
    def follow(self, root: bytes, page: Page, now_ms: int) -> None:
        """A page that was agreed on."""
        account = self.find_any(page.account)
        if account is None or page.expected < 0:
            account = Account({}, 0, b"", now_ms, page.idle_ms)
            self.take_up(page.account, account)
        account.pages[page.number] = page.answered
        account.next_page, account.track, account.idle_ms = page.number + 1, page.track, page.idle_ms
        account.touched_ms = account.told_ms = max(account.touched_ms, now_ms)
        self.roots[page.account] = root

    def restore(
        self, decided: Decided, origin_of: Callable[[Decision], Origin], root: bytes | None = None
    ) -> None:
        super().restore(decided, origin_of, root)
        for slot in decided.decision.slots:
            if slot.feed is not None and root is not None:
                self.roots[slot.feed.account] = root

    def sweep(self, now_ms: int, most: int = 1000) -> int:
        looked = super().sweep(now_ms, most)
        if len(self.roots) > 2 * len(self) + most:
            self.roots = {
                account: self.roots[account] for account, _ in self.items() if account in self.roots
            }
        return looked
