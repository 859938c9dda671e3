"""What the catalogue was: every revision is told again as it was, and forgotten a portion at a time."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from msgspec.structs import replace
from places import fresh_file, fresh_schema
from sqlalchemy import event, select
from test_catalog_store import LUMEN, STAFF, SUMMER, TRAVELLERS, changed, pseudonymise

from adserver.catalog import former
from adserver.catalog.former import Former
from adserver.catalog.history import catalogue_at
from adserver.catalog.objects import Row
from adserver.catalog.opening import open_to_read, reading, writing
from adserver.catalog.store import Store
from adserver.catalog.tables import CATALOGUE, FORMER, NOTED, OBJECTS
from adserver.databases import Place, Unusable
from adserver.domain import limits
from adserver.domain.catalogue import Gone
from adserver.domain.changes import Conflict, Invalid, Unwritten
from adserver.engine.compile import Compiler

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
NOW_MS = 1_780_315_200_000
VERSION_1 = Path(__file__).parent / "version-1.sql"

Made = dict[int, tuple[bytes, str]]
"""Revision -> the image compiled at it, and the digest of the catalogue."""
Body = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    yield from begun(place)


@pytest.fixture
def filed(path: Path) -> Iterator[Store]:
    """In a file of SQLite, for what is of those alone."""
    yield from begun(path)


def begun(place: Place) -> Iterator[Store]:
    opened = Store(place, pseudonymise)
    opened.put("publisher", "lumen", LUMEN)
    opened.put("audience", "lumen/staff", STAFF)
    opened.put("advertiser", "voyages", {})
    opened.put("audience", "voyages/travellers", TRAVELLERS)
    opened.put("campaign", "voyages/summer", SUMMER)
    yield opened
    opened.close()


def at(place: Place, revision: int) -> tuple[bytes, str]:
    """(image, digest) of a revision, told from what is kept alone."""
    engine = open_to_read(place)
    try:
        with reading(engine) as connection:
            catalogue = catalogue_at(connection, revision)
    finally:
        engine.dispose()
    assert (catalogue.revision, catalogue.members) == (revision, {})
    return bytes(Compiler().compile(catalogue)), catalogue.digest


def now(store: Store, compiler: Compiler) -> tuple[bytes, str]:
    """The same of the newest, as the builder makes it."""
    catalogue = store.load()
    return bytes(compiler.compile(replace(catalogue, members={}))), catalogue.digest


def make(made: Made, store: Store, compiler: Compiler) -> int:
    """Compile the newest revision; which it is."""
    made[store.revision()] = now(store, compiler)
    return store.revision()


def kept_from(store: Store) -> int:
    with reading(store._engine) as connection:
        return int(connection.execute(CATALOGUE.select()).one().kept_from)


def versions(store: Store) -> int:
    with reading(store._engine) as connection:
        return len(connection.execute(FORMER.select()).all())


def set_level(store: Store, level: int) -> int:
    return store.put("campaign", "voyages/summer", changed(SUMMER, level=level)).revision


# -- every revision ----------------------------------------------------------------------------------

PUBLISHERS = ("gazette", "lumen")
ADVERTISERS = ("acme", "voyages")
NAMES = ("a", "b")
PLACES = some.fixed_dictionaries(
    {"surface": some.just("page"), "formats": some.sampled_from([["image"], ["native", "image"], ["html"]])}
)
USERS = some.lists(some.sampled_from(["u-1", "u-2", "u-3", "ü-4"]), max_size=3)
TARGETING = some.fixed_dictionaries(
    {},
    optional={
        "countries": some.sampled_from([["FR"], ["DE", "FR"]]),
        "keywords": some.sampled_from([["sun"], ["sun", "sea", "é"]]),
        "placements": some.sampled_from([["lumen/a"], ["gazette/a", "gazette/b"]]),
        "audiences": some.sampled_from([["a"], {"none": ["lumen/a"]}, {"any": ["a"], "none": ["gazette/a"]}]),
    },
)
LINE_ITEMS = some.fixed_dictionaries(
    {
        "pricing": some.sampled_from([{"model": "cpm", "amount": a} for a in ("1.00", "2.00", "11.00")]),
        "level": some.integers(1, 3),
        "status": some.sampled_from(["active", "paused"]),
        "targeting": TARGETING,
        "title": some.sampled_from(["By day", "By night", "Être là"]),
    }
)


def line_item(number: int, given: Body) -> Body:
    creative: Body = {"id": f"card-{number}", "format": "native", "landing_url": "https://shop.example/"}
    creative["assets"] = {"title": given["title"]}
    kept = {name: value for name, value in given.items() if name != "title"}
    return {"id": f"l{number}", "priority": "standard", "creatives": [creative], **kept}


def campaign(items: list[Body]) -> Body:
    return {"currency": "EUR", "line_items": [line_item(n, item) for n, item in enumerate(items)]}


def publisher(places: Body | None, space: str) -> Body:
    """Without places its placements stay what they are."""
    body: Body = {"currency": "EUR", "user_space": space}
    return body if places is None else body | {"placements": [{"id": n, **p} for n, p in places.items()]}


def audience(users: list[str] | None, industry: str) -> Body:
    body: Body = {"user_space": "login", "facets": {"industry": [industry]}}
    return body if users is None else body | {"users": users}


def of(owners: tuple[str, ...]) -> some.SearchStrategy[str]:
    return some.builds("{}/{}".format, some.sampled_from(owners), some.sampled_from(NAMES))


def put(kind: str, name: some.SearchStrategy[str], body: some.SearchStrategy[Any]) -> Any:
    return some.tuples(some.just("put"), some.just(kind), name, body)


BUDGETS = some.sampled_from(
    [{}, *({"currency": "EUR", "budget": {"daily": daily}} for daily in ("10.00", "20.00"))]
)
CAMPAIGNS = put("campaign", of(ADVERTISERS), some.builds(campaign, some.lists(LINE_ITEMS, max_size=3)))
PUTS = some.one_of(
    put(
        "publisher",
        some.sampled_from(PUBLISHERS),
        some.builds(
            publisher,
            some.none() | some.dictionaries(some.sampled_from(NAMES), PLACES, max_size=2),
            some.sampled_from(["login", "mail"]),
        ),
    ),
    put("placement", of(PUBLISHERS), PLACES),
    put("advertiser", some.sampled_from(ADVERTISERS), BUDGETS),
    put(
        "audience",
        of((*ADVERTISERS, *PUBLISHERS)),
        some.builds(audience, some.none() | USERS, some.sampled_from(["press", "travel"])),
    ),
)
ARCHIVES = some.one_of(
    some.tuples(some.just("archive"), some.sampled_from(["publisher"]), some.sampled_from(PUBLISHERS)),
    some.tuples(some.just("archive"), some.sampled_from(["advertiser"]), some.sampled_from(ADVERTISERS)),
    some.tuples(some.just("archive"), some.sampled_from(["campaign"]), of(ADVERTISERS)),
    some.tuples(some.just("archive"), some.sampled_from(["placement"]), of(PUBLISHERS)),
    some.tuples(some.just("archive"), some.just("audience"), of((*ADVERTISERS, *PUBLISHERS))),
)
STEPS = some.one_of(
    *[CAMPAIGNS] * 10,
    *[PUTS] * 2,
    ARCHIVES,
    some.just(("open again",)),
    some.tuples(some.just("wait"), some.integers(1, 20)),
)
PLACE: Body = {"surface": "page", "formats": ["image"]}
BEGINNING: list[Any] = [
    *(("put", "publisher", name, publisher({"a": PLACE, "b": PLACE}, "login")) for name in PUBLISHERS),
    *(("put", "advertiser", name, {}) for name in ADVERTISERS),
    *(("put", "audience", f"{name}/a", audience(["u-1"], "press")) for name in (*ADVERTISERS, *PUBLISHERS)),
    *(("put", "campaign", f"{name}/a", {"currency": "EUR", "line_items": []}) for name in ADVERTISERS),
]
AROUND = [
    ("put", "placement", "lumen/a", {"surface": "page", "formats": ["html"]}),
    ("archive", "publisher", "lumen"),
    ("put", "publisher", "lumen", publisher(None, "mail")),
    ("put", "placement", "lumen/a", {"surface": "page", "formats": ["html"]}),
]


def play(store: Store, step: Any) -> None:
    """One change, or none where it is refused."""
    kind, full_id = step[1], step[2]
    try:
        if step[0] == "archive":
            store.archive(kind, full_id)
        else:
            store.put(kind, full_id, step[3])
    except (Invalid, Conflict):
        pass  # drawn without regard to what there is; refused, it changes nothing, which is part of the case


def copied(path: Path, to: Path) -> Path:
    with closing(sqlite3.connect(path)) as file, closing(sqlite3.connect(to)) as copy:
        file.backup(copy)
    return to


def check_all(place: Place, made: Made, first: int) -> None:
    for revision, expected in made.items():
        if revision < first:
            with pytest.raises(
                Gone, match=f"revision {revision} is no longer kept: the oldest .* is {first}"
            ):
                at(place, revision)
        else:
            assert at(place, revision) == expected, revision


def go_through(place: Place, steps: list[Any]) -> None:
    store, compiler, now_ms = Store(place, pseudonymise), Compiler(), NOW_MS
    made: Made = {}
    make(made, store, compiler)
    for step in [*BEGINNING, *steps]:
        if step[0] == "open again":
            store.close()
            store, compiler = Store(place, pseudonymise), Compiler()
        elif step[0] == "wait":
            now_ms += step[1] * DAY_MS
            store.forget(now_ms)
        else:
            play(store, step)
            make(made, store, compiler)
    first = kept_from(store)
    newest = store.revision()
    assert list(made) == list(range(newest + 1))
    check_all(place, made, first)
    store.close()
    if isinstance(place, Path):
        place = copied(place, place.with_name("backup"))
    check_all(place, {0: made[0], newest: made[newest]}, first)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=some.lists(STEPS, min_size=6, max_size=25))
@example(steps=AROUND)
def test_every_revision_is_compiled_again_as_it_was(tmp_path: Path, steps: list[Any]) -> None:
    go_through(fresh_file(tmp_path), steps)


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=some.lists(STEPS, min_size=6, max_size=25))
def test_every_revision_is_compiled_again_as_it_was_in_postgresql(database: str, steps: list[Any]) -> None:
    go_through(fresh_schema(database), steps)


BYTES = some.binary(max_size=40) | some.binary(max_size=40).map(lambda one: one * 2000)


@given(BYTES, BYTES, BYTES, BYTES)
def test_a_version_is_made_of_its_successor(head: bytes, one: bytes, other: bytes, tail: bytes) -> None:
    before = Row("campaign", "a/b", head + one + tail, "1", False, 3)
    after = Row("campaign", "a/b", head + other + tail, "2", True, 5)
    kept = Former.of(before, after)
    assert kept.made_of(after) == before
    assert len(kept.middle) <= len(one) + 20
    assert kept.until == 5


def test_a_version_takes_what_differs(store: Store) -> None:
    def paused(*which: int) -> Body:
        return campaign([{**item, "status": "paused" if n in which else "active"} for n in range(500)])

    item = {"pricing": {"model": "cpm", "amount": "1.00"}, "title": "By day"}
    for body in (paused(), paused(250), paused(250, *range(200, 210))):
        store.put("campaign", "voyages/long", body)
    store.archive("campaign", "voyages/long")
    sizes = kept_bytes(store, "voyages/long")
    assert len(orjson.dumps(body)) > 50_000
    assert [sizes[0] < 20, sizes[1] < 500, sizes[2] < 20] == [True] * 3, sizes


def kept_bytes(store: Store, full_id: str) -> list[int]:
    with reading(store._engine) as connection:
        rows = connection.execute(FORMER.select().where(FORMER.c.full_id == full_id))
        return [len(row.middle) for row in rows]


# -- what is not told --------------------------------------------------------------------------------


def test_a_revision_never_made(store: Store, place: Place) -> None:
    newest = store.revision()
    for revision in (-1, newest + 1):
        with pytest.raises(Gone, match=f"revision {revision} was never made: the newest is {newest}"):
            at(place, revision)


def test_a_change_that_was_not_logged_is_noticed(store: Store, place: Place) -> None:
    revision = set_level(store, 2)
    set_level(store, 3)
    with writing(store._engine) as connection:
        connection.execute(FORMER.delete().where(FORMER.c.until == revision + 1))
    with pytest.raises(Gone, match=f"campaign voyages/summer at revision {revision} is not kept"):
        at(place, revision - 1)


def test_a_document_this_program_does_not_accept(store: Store, place: Place) -> None:
    revision = store.revision()
    with writing(store._engine) as connection:
        body = connection.execute(select(OBJECTS.c.body).where(OBJECTS.c.kind == "campaign")).scalar_one()
        strange = OBJECTS.update().where(OBJECTS.c.kind == "campaign")
        connection.execute(strange.values(body=body.replace(b"4.20", b"dear")))
    with pytest.raises(Gone, match=r"does not accept the campaign voyages/summer .*pricing\.amount"):
        at(place, revision)
    at(place, revision - 1)


def test_a_file_is_read_and_never_written(filed: Store, path: Path) -> None:
    engine = open_to_read(path)
    with reading(engine) as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("UPDATE catalogue SET revision = 99")
    engine.dispose()
    with pytest.raises(Unusable, match=r"absent.sqlite cannot be read"):
        open_to_read(path.with_name("absent.sqlite"))
    assert not path.with_name("absent.sqlite").exists()
    with closing(sqlite3.connect(path.with_name("other.sqlite"))) as file:
        file.execute("PRAGMA user_version = 2")
    with pytest.raises(Unusable, match="no such table"):
        open_to_read(path.with_name("other.sqlite"))


# -- a file of version 1 -----------------------------------------------------------------------------


def test_a_file_of_version_1_is_brought_forward(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.executescript(VERSION_1.read_text())
    with pytest.raises(Unusable, match="has version 1; this program reads version 2"):
        open_to_read(path)
    store, compiler = Store(path, pseudonymise), Compiler()
    assert (store.revision(), kept_from(store)) == (8, 8)
    assert store.load().digest == "e5a0252390b166b85cdc13f36871b796"
    made: Made = dict.fromkeys(range(8), (b"", ""))
    make(made, store, compiler)
    for level in (5, 6):
        set_level(store, level)
        make(made, store, compiler)
    store.put("campaign", "voyages/winter", SUMMER | {"campaign": "winter"})
    assert make(made, store, compiler) == 11
    store.close()
    Store(path, pseudonymise).close()
    check_all(path, made, 8)
    assert shape(path) == shape_of_new(path.with_name("new.sqlite"))


def shape(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as file:
        names = [row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {name: file.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
    return {name: [(row[1], row[2], row[3], row[5]) for row in found] for name, found in columns.items()}


def shape_of_new(path: Path) -> dict[str, list[Any]]:
    Store(path, pseudonymise).close()
    return shape(path)


def test_bringing_forward_is_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.executescript(VERSION_1.read_text())
    before = shape(path)
    monkeypatch.setattr("adserver.catalog.opening.VERSION", "no number (")
    with pytest.raises(Unusable, match="syntax error"):
        Store(path, pseudonymise)
    assert shape(path) == before
    monkeypatch.undo()
    Store(path, pseudonymise).close()


# -- forgetting --------------------------------------------------------------------------------------


def test_a_version_is_kept_for_30_days_after_it_was_superseded(store: Store, place: Place) -> None:
    compiler = Compiler()
    store.forget(NOW_MS)
    made: Made = {}
    make(made, store, compiler)
    set_level(store, 2)
    superseding = make(made, store, compiler)
    noted_ms = NOW_MS + limits.NOTED_MS
    store.forget(noted_ms)
    store.forget(noted_ms + limits.HISTORY_MS - 1)
    assert (kept_from(store), versions(store)) == (0, 1)
    check_all(place, made, 0)
    store.forget(noted_ms + limits.HISTORY_MS)
    assert (kept_from(store), versions(store)) == (superseding, 0)
    check_all(place, made, superseding)


def test_which_revision_it_is_is_noted_once_an_hour(store: Store) -> None:
    def noted() -> list[int]:
        with reading(store._engine) as connection:
            return [row.at_ms - NOW_MS for row in connection.execute(NOTED.select())]

    store.forget(NOW_MS)
    set_level(store, 2)
    store.forget(NOW_MS + limits.NOTED_MS - 1)
    assert noted() == [0]
    store.forget(NOW_MS + limits.NOTED_MS)
    assert noted() == [0, limits.NOTED_MS]
    store.forget(NOW_MS + 5 * limits.NOTED_MS)
    assert noted() == [0, limits.NOTED_MS], "nothing changed meanwhile"
    set_level(store, 3)
    store.forget(NOW_MS - 1)
    assert len(noted()) == 3, "a clock that was wrong does not stop it"
    store.forget(NOW_MS + limits.NOTED_MS + limits.HISTORY_MS)
    assert noted() == [-1]


@pytest.mark.slow
def test_a_turn_removes_a_portion(store: Store, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, made = Compiler(), Made()
    for level in range(1, 9):
        set_level(store, level)
        make(made, store, compiler)
    store.forget(NOW_MS)
    assert versions(store) == 8
    later_ms = NOW_MS + limits.HISTORY_MS
    monkeypatch.setattr(limits, "FORGOTTEN_AT_ONCE", 3)
    for left in (5, 2, 0, 0):
        store.forget(later_ms)
        assert versions(store) == left
        check_all(place, made, kept_from(store))
    assert kept_from(store) == store.revision()


def test_a_turn_removes_so_many_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in (1, 2, 10, 3, 10, 4):
        set_level(store, level)
    store.forget(NOW_MS)
    sizes = kept_bytes(store, "voyages/summer")
    assert len(sizes) == 6
    later_ms = NOW_MS + limits.HISTORY_MS
    monkeypatch.setattr(limits, "FORGOTTEN_BYTES", sum(sizes[:3]))
    store.forget(later_ms)
    assert versions(store) == 3
    monkeypatch.setattr(limits, "FORGOTTEN_BYTES", 1)
    store.forget(later_ms)
    assert versions(store) == 2, "one is always removed, however large"


def test_a_turn_with_nothing_to_do_writes_nothing(filed: Store, path: Path) -> None:
    set_level(filed, 2)
    filed.forget(NOW_MS)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        filed.forget(NOW_MS + limits.HISTORY_MS - 1)


# -- beside changes ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_change_costs_the_same_however_much_is_kept(filed: Store) -> None:
    def steps() -> int:
        """Of SQLite's machine, in tens."""
        counted = 0

        def count() -> None:
            nonlocal counted
            counted += 1

        @event.listens_for(filed._engine, "checkout")
        def watch(connection: Any, *_: object) -> None:
            connection.set_progress_handler(count, 10)

        set_level(filed, 5)
        set_level(filed, 6)
        event.remove(filed._engine, "checkout", watch)
        return counted

    set_level(filed, 6)
    few = steps()
    for level in range(300):
        set_level(filed, 1 + level % 7)
    assert 0 < steps() <= few + 2


def test_without_room_neither_version_is_there(filed: Store, path: Path) -> None:
    """Whichever page is the one that finds no room."""
    compiler, made = Compiler(), Made()
    make(made, filed, compiler)
    refused = 0
    with reading(filed._engine) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    @event.listens_for(filed._engine, "checkout")
    def bound(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    for size in range(1, 60):
        title = f"{size} " + "x" * 60 * size
        creative = SUMMER["line_items"][0]["creatives"][0] | {"assets": {"title": title}}
        try:
            filed.put("campaign", "voyages/summer", changed(SUMMER, creatives=[creative]))
            make(made, filed, compiler)
        except Unwritten:
            refused += 1
            pages += refused % 2
        assert filed.revision() == max(made)
        assert versions(filed) == len(made) - 1
    assert refused > 5
    assert len(made) > 10
    check_all(path, made, 0)


def test_a_failure_between_the_two_versions_leaves_neither(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = now(store, Compiler())
    for name in ("_upsert", "_line_item_rows"):
        with monkeypatch.context() as broken:
            where = "adserver.catalog.accepting." + ("Acceptance." if name == "_upsert" else "") + name
            broken.setattr(where, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                set_level(store, 9)
        assert versions(store) == 0
        assert now(store, Compiler()) == before
    monkeypatch.setattr(former, "keep", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        set_level(store, 9)
    assert now(store, Compiler()) == at(place, store.revision()) == before


def test_opening_a_file_writes_nothing(filed: Store, path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        before = file.execute("PRAGMA data_version").fetchone()
        Store(path, pseudonymise).close()
        assert file.execute("PRAGMA data_version").fetchone() == before
        set_level(filed, 9)
        assert file.execute("PRAGMA data_version").fetchone() != before
