"""Which ads may stand together in one answer: one per campaign unless it allows more, and nobody beside
the labels it excludes."""

from adserver.domain.decision import NoFill
from adserver.engine.rules import Drop
from adserver.engine.snapshot import Entry

_ALREADY = Drop(NoFill.EXCLUDED, "repeat_in_request", False, "campaign already in this answer")


class Company:
    """The ads of one request so far. ``out``: positions that are out for all of the request, whatever the
    placement (a cap, a budget, pacing), and why; the next placement need not ask again."""

    def __init__(self) -> None:
        self.out: dict[int, Drop] = {}
        self._campaigns: set[int] = set()
        self._labels: set[str] = set()
        self._excluded: set[str] = set()

    def refuses(self, entry: Entry) -> Drop | None:
        campaign = entry.campaign
        if campaign.serial in self._campaigns and not campaign.repeat_in_request:
            return _ALREADY
        if self._excluded and not self._excluded.isdisjoint(campaign.labels):
            return Drop(NoFill.EXCLUDED, "exclude_labels", sorted(self._excluded), list(campaign.labels))
        if self._labels and not self._labels.isdisjoint(campaign.exclude_labels):
            return Drop(
                NoFill.EXCLUDED, "exclude_labels", list(campaign.exclude_labels), sorted(self._labels)
            )
        return None

    def join(self, entry: Entry) -> None:
        if not entry.campaign.repeat_in_request:
            self.out[entry.position] = _ALREADY
        self._campaigns.add(entry.campaign.serial)
        self._labels.update(entry.campaign.labels)
        self._excluded.update(entry.campaign.exclude_labels)
