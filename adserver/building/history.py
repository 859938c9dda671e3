"""Snapshots of former revisions, for as long as the catalog keeps what it was (``limits.HISTORY_MS``).

Beside a running server, whose files are only read. An image is made of a catalogue by a program: after an
upgrade a former revision is compiled as the new program compiles it, and the same bytes are promised only
between equal versions.
"""

from pathlib import Path

from sqlalchemy import Connection

from adserver.building.images import Images
from adserver.catalog.history import catalogue_at
from adserver.catalog.marks import digest_of_all
from adserver.catalog.opening import open_to_read, place_of, reading
from adserver.catalog.tables import newest
from adserver.databases import Unusable
from adserver.domain.catalogue import Gone
from adserver.engine.compile import compile_snapshot
from adserver.engine.snapshot import Snapshot


def snapshot_at(data: Path, revision: int, database: str = "") -> Snapshot:
    """What the server of the data folder ``data`` served from at ``revision``: the image in service where it
    is that one, else compiled anew. Members of audiences are those of the image in service, or none: a
    decision bears the audiences it was made with. ``database``: the URL of the catalog's, if it is
    in no file.

    Raises Gone: the revision was never made, is no longer kept, holds what this program does not accept, or
    there is no catalog of this version there. A catalog that was brought back from a backup and changed
    since counts the same numbers; of which history a number is, the catalog cannot know."""
    try:
        engine = open_to_read(place_of(data, database))
    except Unusable as error:
        raise Gone(str(error)) from error
    try:
        with reading(engine) as connection:
            found = _in_service(data, connection) if revision == newest(connection) else None
            if found is not None:
                return found
            catalogue = catalogue_at(connection, revision)
    finally:
        engine.dispose()
    return compile_snapshot(catalogue)


def _in_service(data: Path, connection: Connection) -> Snapshot | None:
    """The image of the newest revision, if there is a whole one."""
    images = Images(data)
    name = images.name(newest(connection), digest_of_all(connection))
    try:
        return images.open(name, checked=False)
    except (OSError, ValueError):
        return None
