"""The catalogue as it was: everything that was not archived at a former revision, under the serials it had.

Objects are taken back to what they were (``former``); serials, the order of things and what a version of a
creative is do not change with time. Who belonged to which audience is not kept: what was decided bears the
audiences it was decided with.
"""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, select

from adserver.catalog import former
from adserver.catalog.objects import Row
from adserver.catalog.serials import Serials
from adserver.catalog.shelf import Shelf
from adserver.catalog.tables import CATALOGUE, OBJECTS
from adserver.domain.catalogue import Catalogue, Gone
from adserver.domain.changes import Invalid

_AT_ONCE: Final = 500


def catalogue_at(connection: Connection, revision: int) -> Catalogue:
    """What the catalog held at ``revision``, without members. Raises Gone: it never was, its documents are no
    longer kept, or this version of the program does not accept one of them."""
    kept_from, newest = connection.execute(select(CATALOGUE.c.kept_from, CATALOGUE.c.revision)).one()
    if not 0 <= revision <= newest:
        raise Gone(f"revision {revision} was never made: the newest is {newest}")
    if revision < kept_from:
        raise Gone(f"revision {revision} is no longer kept: the oldest that is, is {kept_from}")
    serials = Serials()
    serials.refresh(connection)
    shelf = Shelf(serials)
    try:
        shelf.take(_rows_at(connection, revision), revision)
    except Invalid as refusal:
        problem = refusal.problems[0]
        raise Gone(f"this program does not accept the {problem.document}: {refusal}") from None
    return shelf.catalogue({})


def _rows_at(connection: Connection, revision: int) -> Iterator[Row]:
    """Every object there was, as it was, archived ones too."""
    undone = former.undone(connection, revision)
    with connection.execute(select(OBJECTS).execution_options(yield_per=_AT_ONCE)) as rows:
        for found in rows:
            row = Row(*found)
            row = undone.get(row.key, row)
            if row.revision <= revision:
                yield row
