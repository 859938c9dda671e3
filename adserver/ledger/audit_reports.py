"""What reports are made from, audited: rollups, people and requests against the journal."""

from sqlalchemy import Connection

from adserver.domain.records import Personal, Record
from adserver.ledger.audit_books import Tell
from adserver.ledger.audit_names import NameAudit
from adserver.ledger.audit_people import PeopleAudit
from adserver.ledger.audit_requests import RequestAudit
from adserver.ledger.audit_rollups import Cells, compare_cells
from adserver.ledger.rolled import PEOPLE_SINCE, is_rolled, mark


class ReportAudit:
    """``told``: what there was, in words."""

    def __init__(self, tell: Tell, journals: int = 1) -> None:
        self.told = "not compared"
        self._tell = tell
        self._people = PeopleAudit()
        self._names = NameAudit()
        self._requests = RequestAudit(tell, journals)

    def take(self, record: Record, personal: Personal | None, posted: bool) -> None:
        """The next record of the journal."""
        self._requests.take(record, posted)
        if posted:
            self._people.take(record, personal)
            self._names.take(record)

    def compare(self, connection: Connection, cells: Cells) -> None:
        """With the ledger; one of an earlier version is given its rollups when it is next opened."""
        if not is_rolled(connection):
            self.told = "nothing is counted yet in a ledger of an earlier version"
            return
        self._names.compare(connection, self._tell)
        rollups = compare_cells(connection, cells, self._tell)
        requests = self._requests.compare(connection, self._tell)
        people = self._people.compare(connection, mark(connection, PEOPLE_SINCE), self._tell)
        self.told = f"{rollups} rollups, {requests} of requests, {people} impressions by people"
