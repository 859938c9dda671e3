"""``adserver invalidate``: take events back on a running server, a thousand a call."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from adserver.commands.remote import Remote
from adserver.domain import ids, limits
from adserver.domain.money import format_micros
from adserver.options import Wrong

_PATH: Final = "/v1/invalidations"


def invalidate(event_ids: Iterable[str], reason: str, remote: Remote) -> None:
    """Each is told of once, in order; then the sums. Nothing is sent if one is none. Raises Wrong, Failed."""
    wanted = list(dict.fromkeys(line.strip() for line in event_ids if line.strip()))
    if not wanted:
        raise Wrong("no event ids: name them, or give them one a line on standard input")
    _check(wanted)
    taken, refunded = Counter[str](), Counter[str]()
    for part in _parts(wanted):
        answer = remote.post(_PATH, {"events": part, "reason": reason})
        refunded.update({one["currency"]: one["micros"] for one in answer["refunded"]})
        for result in answer["results"]:
            kinds = result["invalidated"]
            taken.update(kinds)
            print(result["event_id"], ", ".join(kinds) or "nothing to take back")
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(taken.items())) or "nothing"
    money = [f"{format_micros(micros)} {currency}" for currency, micros in sorted(refunded.items())]
    print(f"taken back: {told}; refunded: {', '.join(money) or 'nothing'}")


def _check(event_ids: Sequence[str]) -> None:
    for event_id in event_ids:
        try:
            ids.decode(event_id)
        except ValueError as error:
            raise Wrong(f"{event_id[:64]} is not an event id: {error}") from None


def _parts(event_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    size = limits.EVENTS_PER_INVALIDATION
    for start in range(0, len(event_ids), size):
        yield event_ids[start : start + size]
