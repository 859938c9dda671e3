"""What a call on a tracking URL is answered (API.md section 2)."""

from msgspec import Struct

from adserver.domain.records import Status


class Verdict(Struct, frozen=True):
    """``location`` is where a click goes, whatever the verdict, as long as the token is ours."""

    status: Status
    billed: bool = False
    location: str | None = None
