"""``adserver verify``: the journal against itself, the ledger, and the laws. Also beside a running server.

The ledger is read first, in one transaction; then the journal, whose beginning up to the ledger's position
must explain every row: nothing missing, nothing extra, nothing different. What is written behind it is
not posted yet and audited for the chain and laws 1 and 2 only.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adserver.domain.books import Position
from adserver.ledger.audit_books import Heard
from adserver.ledger.audit_caps import CapAudit
from adserver.ledger.audit_feeds import FeedAudit
from adserver.ledger.audit_judging import Books
from adserver.ledger.audit_ledger import Unreadable, compare, read_ledger, reading
from adserver.ledger.audit_reports import ReportAudit
from adserver.ledger.ledger import LEDGER
from adserver.ledger.reader import JOURNAL, Reader
from adserver.ledger.segments import Damage


def verify(data_dir: Path, report: Callable[[str], None] = print) -> list[str]:
    """Audit what lies in ``data_dir``; each difference, also told to ``report`` with a summary."""
    differences: list[str] = []

    def tell(difference: str) -> None:
        differences.append(difference)
        report(difference)

    if not (data_dir / LEDGER).exists():
        tell(f"there is no ledger: {data_dir / LEDGER}")
        return differences
    heard, feeds, caps, reports = Heard(), FeedAudit(tell), CapAudit(tell), ReportAudit(tell)
    with _uncollected(), reading(data_dir / LEDGER) as connection:
        try:
            posted = read_ledger(connection)
        except Unreadable as error:
            tell(str(error))
            return differences
        read, unposted, short = _walk(data_dir / JOURNAL, posted.position, heard, feeds, caps, reports, tell)
        books = Books(heard, tell)
        if not short:
            compare(posted, books, tell)
            reports.compare(connection, books.cells)
    report(f"journal: {read} records whole and in the chain, {unposted} of them not posted yet")
    report(f"law 1: {feeds.ads} sponsored items on {feeds.pages} feed pages")
    report(f"law 2: {caps.exposures} exposures, {caps.late} impressions after their expiry")
    report(f"law 3: {len(posted.budgets)} budget accounts")
    report(
        f"law 4: {len(posted.events)} events, {len(posted.filtered)} filtered, {len(posted.entries)} entries"
    )
    report(f"reports: {reports.told}")
    report("no differences" if not differences else f"{len(differences)} differences")
    return differences


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


def _walk(
    journal: Path, position: Position, heard: Heard, feeds: FeedAudit, caps: CapAudit, reports: ReportAudit,
    tell: Callable[[str], None],
) -> tuple[int, int, bool]:  # fmt: skip
    """Feed the audits; (records read, of them behind the ledger's position, whether it ends before that)."""
    read = unposted = 0
    behind = Position()
    reader = Reader(journal)
    try:
        for behind, record, personal in reader.read(Position()):
            read += 1
            reports.take(record, personal, behind <= position)
            if behind <= position:
                heard.take(record)
            else:
                unposted += 1
            feeds.take(record)
            caps.take(record, personal)
    except Damage as damage:
        tell(f"journal damaged: {damage}")
        return read, unposted, behind < position
    finally:
        reader.close()
    if position > Position() and reader.behind < position:
        tell(f"the journal ends at {reader.behind}, the ledger was posted up to {position}")
        return read, unposted, True
    return read, unposted, False
