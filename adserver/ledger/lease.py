"""A lease on one budget account, as the process that spends from it has it (``leasing`` says how)."""

from msgspec import Struct

from adserver.ledger.accounts import Account, Key
from adserver.ledger.leases import Ask


class Lease(Struct):
    """Of one account. ``elsewhere_nanos``: what of the account's bill is not this process's; ``limit_nanos``:
    the catalogue's; ``since``: its revision that brought it; ``told_nanos``: what the ledger has heard is
    held; ``asked``: something was asked for under this limit; ``lifted``: there is no limit any more, which
    the ledger is still to hear; ``price_nanos``: the dearest event asked for; ``used_nanos``: billed and held
    at the last look; ``moved_nanos``: how much more that was than at the one before; ``still``: looks since
    it changed."""

    key: Key
    account: Account
    elsewhere_nanos: int
    limit_nanos: int
    since: int
    told_nanos: int = 0
    asked: bool = False
    rests: bool = False
    lifted: bool = False
    price_nanos: int = 0
    used_nanos: int = 0
    moved_nanos: int = 0
    still: int = 0

    @property
    def granted_nanos(self) -> int:
        account = self.account
        whole = account.used_nanos if self.rests else account.limit_nanos or 0
        return whole - self.elsewhere_nanos

    @property
    def free_nanos(self) -> int:
        account = self.account
        if self.rests:
            return 0
        return (account.limit_nanos or 0) - account.used_nanos

    def rest(self) -> None:
        """Promise nothing more. Without room beside what is billed nothing fits, whatever holds end."""
        self.rests, self.asked = True, False
        self.account.limit_nanos = self.account.billed_nanos

    def grow(self, nanos: int) -> None:
        self.account.limit_nanos = (self.account.limit_nanos or 0) + nanos

    def take(self, slice_nanos: int) -> None:
        """A slice was granted beside what the ledger had heard of."""
        if self.rests:
            self.rests = False
            self.account.limit_nanos = self.elsewhere_nanos + self.told_nanos
        self.grow(slice_nanos)

    def look(self) -> None:
        used_nanos = self.account.used_nanos
        self.moved_nanos = max(used_nanos - self.used_nanos, 0)
        self.still = 0 if used_nanos != self.used_nanos else self.still + 1
        self.used_nanos = used_nanos

    def ask(self, least_nanos: int, target_nanos: int) -> Ask:
        self.asked = True
        return Ask(self.key, self.limit_nanos, self.since, self.granted_nanos, least_nanos, target_nanos)
