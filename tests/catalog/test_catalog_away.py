"""A catalog whose PostgreSQL goes away and comes back."""

from contextlib import closing
from pathlib import Path

import pytest
from servers.postgresql import Postgres
from test_catalog_store import LUMEN, pseudonymise

from adserver.catalog.keys import CACHED_MS, Keys
from adserver.catalog.source import Source
from adserver.catalog.store import Store
from adserver.databases import Database, Unusable
from adserver.domain.changes import Unread, Unwritten


@pytest.mark.slow
def test_what_is_asked_meanwhile_is_refused_and_afterwards_answered(server_ground: Path) -> None:
    with Postgres(server_ground / "away") as server:
        place = Database(server.create(), "catalog")
        with (
            closing(Store(place, pseudonymise)) as store,
            closing(Keys(place)) as keys,
            closing(Source(place)) as source,
        ):
            store.put("publisher", "lumen", LUMEN)
            _, text = keys.create("operator", "", 0)
            for now_ms in (0, 10_000, 20_000):
                server.shut("immediate")
                with pytest.raises(Unread, match="cannot be read now"):
                    store.get("publisher", "lumen")
                with pytest.raises(Unread):
                    store.load()
                with pytest.raises(Unread):
                    source.revision()
                with pytest.raises(Unread):
                    keys.find(text, now_ms + CACHED_MS)
                with pytest.raises(Unwritten, match="cannot be written now"):
                    store.put("publisher", "gazette", LUMEN | {"publisher": "gazette"})
                with pytest.raises(Unusable, match="cannot be used"):
                    Store(place, pseudonymise)
                server.start()
                # At once: a connection from before is not handed to anybody.
                assert (store.revision(), source.revision()) == (1, 1)
                assert store.get("publisher", "lumen") is not None
                assert keys.find(text, now_ms + 2 * CACHED_MS) is not None
            assert store.put("publisher", "gazette", LUMEN | {"publisher": "gazette"}).revision == 2


def test_the_order_of_ids_is_that_of_their_bytes_in_any_locale(postgres: Postgres) -> None:
    """Where "-" counts for little and follows letters, as in most languages."""
    with postgres.connect() as connection:
        connection.execute(
            "CREATE DATABASE in_french OWNER adserver TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'fr'"
        )
    url = postgres.url("in_french")
    try:
        with closing(Store(Database(url, "catalog"), pseudonymise)) as store:
            names = ["a", "a-b", "a.b", "a0", "a_b", "aa", "ab"]
            for name in reversed(names):
                store.put("advertiser", name, {})
            listed = [stored.full_id for stored in store.list("advertiser", None, None, 100)]
            assert listed == sorted(names) == [one.id for one in store.load().advertisers]
            behind = [stored.full_id for stored in store.list("advertiser", None, "a.b", 2)]
            assert behind == sorted(names)[3:5]
    finally:
        postgres.drop(url)
