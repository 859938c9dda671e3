"""What an advertiser paid in, and what is left of it, by the live books."""

from typing import Protocol

from msgspec import Struct

from adserver.domain import money
from adserver.services import plans
from adserver.services.manage import Who, absent, visible
from adserver.services.world import World


class Paid(Protocol):
    def paid_nanos(self, account: str, currency: str) -> int: ...


class Books(Protocol):
    @property
    def wallets(self) -> Paid: ...
    def account(self, name: str, day: int | None = None) -> plans.Account: ...


class Wallet(Struct, frozen=True):
    """``billing``: prepaid or invoiced. ``remaining_micros``: paid in, and neither spent nor reserved for ads
    that are out; None of who is invoiced, as whom nothing is limited by it."""

    advertiser: str
    billing: str
    currency: str
    paid_in_micros: int
    spend_micros: int
    reserved_micros: int
    remaining_micros: int | None


class Wallets:
    """The use case."""

    def __init__(self, world: World, books: Books) -> None:
        self._world = world
        self._books = books

    def of(self, who: Who, owner: str) -> Wallet:
        """Raises Refused (404)."""
        visible(who, "advertiser", (owner,))
        found = self._world.snapshot.advertisers.get(owner)
        if found is None:
            absent()
        name = f"advertiser:{found.serial}"
        account, paid = self._books.account(name), self._books.wallets.paid_nanos(name, found.currency)
        left = money.floor_micros(max(paid - account.used_nanos, 0))
        return Wallet(
            owner,
            "prepaid" if found.prepaid else "invoiced",
            found.currency,
            paid // 1000,
            money.floor_micros(account.billed_nanos),
            money.floor_micros(account.held_nanos),
            left if found.prepaid else None,
        )
