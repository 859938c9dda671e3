"""What one worker brings to another: events of ads that the other decided."""

from msgspec import Struct

from adserver.domain.told import Told
from adserver.domain.verdicts import Verdict


class Shown(Struct, frozen=True, array_like=True, tag=1):
    """A plain call on the URL of an impression, and the address it came from."""

    told: Told
    ip: str


class Happened(Struct, frozen=True, array_like=True, tag=2):
    """Any other event: its token, what kind it is of, the call that told it (as ``Call`` says it). ``peek``:
    nothing is to be counted."""

    token: str
    kind: int
    peek: bool
    user_agent: str
    ip: str
    method: str
    prefetch: bool
    publisher_key: str | None
    batched: bool


Errand = Shown | Happened


class Brought(Struct, frozen=True, array_like=True):
    """Some errands, and the number that their verdicts are to name."""

    number: int
    errands: list[Errand]


class Answered(Struct, frozen=True, array_like=True):
    """The verdicts, in order, all durable."""

    number: int
    verdicts: list[Verdict]
