"""``adserver verify``: the journal against itself, the ledger, and the laws. Also beside a running server.

The ledger is read first, in one transaction; then the journal (all there are: ``journals``), whose beginning
up to the ledger's position must explain every row: nothing missing, nothing extra, nothing different. What is
written behind it is not posted yet and audited for the chain and laws 1 and 2 only.
"""

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from adserver.databases import Place
from adserver.domain.books import Position
from adserver.domain.records import Decided
from adserver.ledger import journals, schema
from adserver.ledger.audit_awake import Awake
from adserver.ledger.audit_books import Heard
from adserver.ledger.audit_caps import CapAudit
from adserver.ledger.audit_differences import compare
from adserver.ledger.audit_feeds import FeedAudit
from adserver.ledger.audit_judging import Books
from adserver.ledger.audit_leases import LeaseAudit, Leased, read_leases
from adserver.ledger.audit_ledger import Posted, Unreadable, read_ledger, reading
from adserver.ledger.audit_reports import ReportAudit
from adserver.ledger.audit_trial import TrialAudit
from adserver.ledger.audit_walk import Read, Walk, together
from adserver.ledger.place import LEDGER


def verify(
    data_dir: Path, report: Callable[[str], None] = print, place: Place | None = None,
    others: Sequence[Path] = (),
) -> list[str]:  # fmt: skip
    """Audit the journals in ``data_dir`` and the ledger there, or at ``place``; each difference, also told to
    ``report`` with a summary. ``others``: data folders, or copies, of other machines that post into the same
    ledger: only all journals together explain it."""
    differences: list[str] = []

    def tell(difference: str) -> None:
        differences.append(difference)
        report(difference)

    place = place or data_dir / LEDGER
    if isinstance(place, Path) and not place.exists():
        tell(f"there is no ledger: {place}")
        return differences
    folders = _folders((data_dir, *others), tell)
    if differences:
        return differences
    with _uncollected(), reading(place) as connection:
        if not schema.has(connection, schema.EVENTS):
            # Whoever makes it is at it, or was killed at it.
            tell(f"there is no ledger: {place}")
            return differences
        try:
            posted = read_ledger(connection)
        except Unreadable as error:
            tell(str(error))
            return differences
        audits = _Audits(posted, read_leases(connection), len(folders), tell)
        walks = [_walk(data, number, posted, tell) for number, data in sorted(folders.items())]
        audits.take(together(walks))
        audits.compare(connection, _elsewhere(posted, folders), any(walk.short for walk in walks))
    for line in (_read(walks), *audits.told()):
        report(line)
    report("no differences" if not differences else f"{len(differences)} differences")
    return differences


class _Audits:
    """All that are made of the records, once each, of so many ``journals``."""

    def __init__(self, posted: Posted, leases: Leased, journals: int, tell: Callable[[str], None]) -> None:
        self._posted = posted
        self._tell = tell
        self._several = journals > 1
        self._awake, self._heard = Awake(), Heard(self._several)
        self._feeds, self._caps = FeedAudit(tell), CapAudit(tell)
        self._reports, self._leases = ReportAudit(tell, journals), LeaseAudit(leases, tell)
        self._trial = TrialAudit(tell)

    def take(self, records: Iterable[Read]) -> None:
        heard, awake, reports = self._heard, self._awake, self._reports
        feeds, caps, leases = self._feeds, self._caps, self._leases
        for record, personal, is_posted, journal in records:
            reports.take(record, personal, is_posted)
            if is_posted:
                heard.take(record)
                awake.take(heard.number, journal, record)
                if leases.holders:
                    leases.take(journal, record)
            elif self._several and isinstance(record, Decided):
                heard.overhear(record)
            feeds.take(record)
            caps.take(record, personal)

    def compare(self, connection: Connection, elsewhere: str, short: bool) -> None:
        """What the records say with what the ledger does. ``elsewhere``: whose journals were not read;
        ``short``: one of those read ends too soon. Of part of the books nothing follows."""
        books = Books(self._heard, self._tell, self._awake.until())
        if elsewhere:
            self._tell(
                f"the ledger was posted from journals elsewhere too ({elsewhere}): it was not compared; name "
                "the data folders, or copies, of the other machines (--beside)"
            )
        elif not short:
            compare(self._posted, books, self._tell)
            self._reports.compare(connection, books.cells)
            self._leases.compare()
            self._trial.compare(connection, self._heard, books, self._leases.reserved())

    def told(self) -> Iterator[str]:
        """A line for each."""
        posted, feeds, caps, heard = self._posted, self._feeds, self._caps, self._heard
        yield f"law 1: {feeds.ads} sponsored items on {feeds.pages} feed pages"
        yield f"law 2: {caps.exposures} exposures, {caps.late} impressions after their expiry"
        yield f"law 3: {len(posted.budgets)} budget accounts"
        yield (
            f"law 4: {len(posted.events)} events, {len(posted.filtered)} filtered, "
            f"{len(posted.entries)} entries"
        )
        yield f"reports: {self._reports.told}"
        yield f"statements: {len(heard.closings)} closings, {len(heard.booked)} bookings"
        yield f"accounts: {self._trial.told}"


def _read(walks: Sequence[Walk]) -> str:
    read, unposted = sum(walk.read for walk in walks), sum(walk.unposted for walk in walks)
    told = "journal" if len(walks) == 1 else f"{len(walks)} journals"
    return f"{told}: {read} records whole and in the chain, {unposted} of them not posted yet"


def _folders(data_dirs: Iterable[Path], tell: Callable[[str], None]) -> dict[int, Path]:
    """In which of them the journal with each number is."""
    found = dict[int, Path]()
    for data in data_dirs:
        for number in journals.numbers_in(data):
            if number in found:
                tell(f"journal {number} is in {found[number]} and in {data}: one of them is a copy")
            found[number] = data
    return found


def _elsewhere(posted: Posted, folders: Collection[int]) -> str:
    """The consumers whose journals are not here."""
    here = {journals.consumer_of(number) for number in folders}
    return ", ".join(sorted(posted.positions.keys() - here))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Audits make millions of objects and no circles of them; to look for some costs more than the audit."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _walk(data_dir: Path, number: int, posted: Posted, tell: Callable[[str], None]) -> Walk:
    position = posted.positions.get(journals.consumer_of(number), Position())
    return Walk(number, journals.folder_of(data_dir, number), position, tell)
