"""``adserver verify``: the journal against itself, the ledger, and the laws. Also beside a running server.

The ledger is read first, in one transaction; then the journal (all there are: ``journals``), whose beginning
up to the ledger's position must explain every row: nothing missing, nothing extra, nothing different. What is
written behind it is not posted yet and audited for the chain and laws 1 and 2 only.
"""

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from adserver.databases import Place
from adserver.domain.books import Position
from adserver.domain.records import Decided
from adserver.ledger import journals
from adserver.ledger.audit_awake import Awake
from adserver.ledger.audit_books import Heard
from adserver.ledger.audit_caps import CapAudit
from adserver.ledger.audit_differences import compare
from adserver.ledger.audit_feeds import FeedAudit
from adserver.ledger.audit_judging import Books
from adserver.ledger.audit_leases import LeaseAudit, read_leases
from adserver.ledger.audit_ledger import Posted, Unreadable, read_ledger, reading
from adserver.ledger.audit_reports import ReportAudit
from adserver.ledger.audit_walk import Walk, together
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
    awake = Awake()
    heard, feeds, caps = Heard(len(folders) > 1), FeedAudit(tell), CapAudit(tell)
    with _uncollected(), reading(place) as connection:
        try:
            posted = read_ledger(connection)
        except Unreadable as error:
            tell(str(error))
            return differences
        walks = [_walk(data, number, posted, tell) for number, data in sorted(folders.items())]
        elsewhere = _elsewhere(posted, folders)
        reports = ReportAudit(tell, len(walks))
        leases = LeaseAudit(read_leases(connection), tell)
        for record, personal, is_posted, journal in together(walks):
            reports.take(record, personal, is_posted)
            if is_posted:
                heard.take(record)
                awake.take(heard.number, journal, record)
                if leases.holders:
                    leases.take(journal, record)
            elif len(walks) > 1 and isinstance(record, Decided):
                heard.overhear(record)
            feeds.take(record)
            caps.take(record, personal)
        books = Books(heard, tell, awake.until())
        if elsewhere:
            tell(
                f"the ledger was posted from journals elsewhere too ({elsewhere}): it was not compared; name "
                "the data folders, or copies, of the other machines (--beside)"
            )
        elif not any(walk.short for walk in walks):
            compare(posted, books, tell)
            reports.compare(connection, books.cells)
            leases.compare()
    read, unposted = sum(walk.read for walk in walks), sum(walk.unposted for walk in walks)
    told = "journal" if len(walks) == 1 else f"{len(walks)} journals"
    report(f"{told}: {read} records whole and in the chain, {unposted} of them not posted yet")
    report(f"law 1: {feeds.ads} sponsored items on {feeds.pages} feed pages")
    report(f"law 2: {caps.exposures} exposures, {caps.late} impressions after their expiry")
    report(f"law 3: {len(posted.budgets)} budget accounts")
    report(
        f"law 4: {len(posted.events)} events, {len(posted.filtered)} filtered, {len(posted.entries)} entries"
    )
    report(f"reports: {reports.told}")
    report(f"statements: {len(heard.closings)} closings, {len(heard.booked)} bookings")
    report("no differences" if not differences else f"{len(differences)} differences")
    return differences


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
