"""Which ads may stand together in one answer: one per campaign unless it allows more, and nobody beside
the labels it excludes."""

from adserver.domain.decision import NoFill
from adserver.engine.rules import Drop
from adserver.engine.snapshot import Entry

_ALREADY = Drop(NoFill.EXCLUDED, "repeat_in_request", False, "campaign already in this answer")


class Company:
    """The ads of one request so far. ``out``: positions that are out for all of the request, whatever the
    placement (a cap, a budget, pacing), and why; the next placement need not ask again."""

    __slots__ = ("_campaigns", "_excluded", "_labels", "out")

    def __init__(self) -> None:
        self.out: dict[int, Drop] = {}
        self._campaigns: set[int] = set()
        self._labels: set[str] = set()
        self._excluded: set[str] = set()

    def welcomes(self, entry: Entry) -> bool:
        """Whether it does not refuse, at once: nobody has labels, mostly."""
        campaign = entry.campaign
        if campaign.serial in self._campaigns and not campaign.repeat_in_request:
            return False
        return not entry.labelled or self.refuses(entry) is None

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
        campaign = entry.campaign
        if not campaign.repeat_in_request:
            self.out[entry.position] = _ALREADY
        self._campaigns.add(campaign.serial)
        if entry.labelled:
            self._labels.update(campaign.labels)
            self._excluded.update(campaign.exclude_labels)
