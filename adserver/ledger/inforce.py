"""What the catalogue in force says of budgets, as far as the ledger asks; the services tell it."""

from typing import Protocol

from adserver.domain.records import BudgetTerms, LineItemTerms


class InForce(Protocol):
    """The catalogue that is served."""

    @property
    def revision(self) -> int: ...

    def line_item(self, serial: int) -> LineItemTerms | None:
        """The terms of a line item, None if the catalogue has it no more."""
        ...

    def levels(self, terms: LineItemTerms) -> dict[str, tuple[BudgetTerms, ...]]:
        """Budgets of the campaign and the advertiser such a line item had, where these are still there."""
        ...

    def absent(self, serials: set[int]) -> set[int]:
        """Those of the line items that the catalogue does not have."""
        ...


class Nothing:
    """Before the first catalogue: everything stands as it was last known."""

    revision = 0

    def line_item(self, serial: int) -> LineItemTerms | None:
        return None

    def levels(self, terms: LineItemTerms) -> dict[str, tuple[BudgetTerms, ...]]:
        return {}

    def absent(self, serials: set[int]) -> set[int]:
        return set()
