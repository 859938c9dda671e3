"""Impressions as the wire tells them in rows: plain tuples, made and read in C as well."""

from adserver.domain.decision import EventKind
from adserver.domain.records import Personal, Recorded, Status, Unbilled

Told = tuple[
    bytes, bytes, int, int, int, int, int, int, int, int, int, int, bytes | None, str, int, str, bytes | None
]
"""A plain call on the URL of an impression: event id, the key it is seen by (with the kind), when it was
decided and when its token ends (ms), line item, creative, placement, render_s, day, price_nanos, model,
flags, subject, country and device as its ``Token`` says them; the agent, "" where none was said; what a proxy
said of the address, None without one."""

Heard = tuple[Told, str]
"""What was told, and the address it came from."""

Accepted = tuple[Told, int, Unbilled, int, bytes]
"""One that is accepted: billed_nanos, unbilled and conversion_nanos of its ``Recorded``, and the salt of its
``Personal``."""


def recorded_of(accepted: Accepted, at_ms: int) -> tuple[Recorded, Personal]:
    """As it stands in the journal."""
    told, billed_nanos, unbilled, conversion_nanos, salt = accepted
    event_id, _, _, _, line_item, creative, placement, _, day, _, _, _, subject, country, device, _, _ = told
    event = Recorded(
        event_id=event_id,
        kind=EventKind.IMPRESSION,
        status=Status.ACCEPTED,
        at_ms=at_ms,
        line_item=line_item,
        creative=creative,
        placement=placement,
        billed_nanos=billed_nanos,
        unbilled=unbilled,
        day=day,
        country=country,
        device=device,
        conversion_nanos=conversion_nanos,
    )
    return event, Personal(salt, subject)
