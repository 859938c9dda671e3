"""What a call on a tracking URL is answered (API.md section 2)."""

from msgspec import Struct

from adserver.domain.records import Status


class Verdict(Struct, frozen=True, array_like=True):
    """``location`` is where a click goes, whatever the verdict, as long as the token is ours."""

    status: Status
    billed: bool = False
    location: str | None = None


class Passed(Struct, eq=False):
    """A verdict that another process reaches: there once what is waited for is done. ``location``: where a
    click goes, whatever becomes of it; ``said``: what else is said, empty where nobody answered."""

    location: str | None = None
    verdict: Verdict = Verdict(Status.UNRECORDED)
    said: bytes = b""

    def reach(self, verdict: Verdict) -> None:
        """Whoever could not even tell where a click goes does not keep it from going there."""
        if verdict.status is Status.UNRECORDED and verdict.location is None:
            self.give_up()
        else:
            self.verdict = verdict

    def give_up(self) -> None:
        """Nobody answered."""
        self.verdict = Verdict(Status.UNRECORDED, False, self.location)
