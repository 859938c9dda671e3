"""What the catalogue may no longer change, since something of it was billed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adserver.app import App


def is_billed(app: "App", kind: str, full_id: str) -> bool:
    """Whether a campaign, archived ones too, has spent anything or holds what may be spent; whether a
    publisher has earned anything."""
    if not app.world.ready:
        return False
    if kind == "publisher":
        found = app.world.snapshot.publishers.get(full_id)
        return found is not None and app.ledger.has_earned(found.serial)
    former = app.states.budgets.formerly(full_id)
    return any(sum(app.states.budgets.campaign_nanos(terms.campaign)) for terms, _, _ in former)
