"""Blocks: the same bytes whoever makes them, whole or refused, and all of their documents come back."""

import random

import numpy as np
import pytest
from engine_samples import campaign, catalogue, line_item, of_items, random_catalogue

from adserver.domain.campaign import Campaign
from adserver.domain.catalogue import Catalogue
from adserver.domain.targeting import Targeting
from adserver.engine.blocks import campaigns_of, opened
from adserver.engine.compile import Assembler, Compiler, Stored
from adserver.engine.image import ImageError, Sections
from adserver.engine.places import Store
from adserver.engine.rows import block
from adserver.engine.snapshot import Snapshot
from adserver.engine.values import Values


def of_owner(given: Catalogue, number: int) -> list[Campaign]:
    return [one for one in given.campaigns if one.advertiser == given.advertisers[number].id]


def test_what_a_block_was_made_of_makes_it_again() -> None:
    """Byte for byte, also by values that know others already, and from its own documents."""
    values = Values()
    for seed in range(40):
        given = random_catalogue(seed)
        for number, owner in enumerate(given.advertisers):
            mine = of_owner(given, number)
            etags = [str(place) for place in range(len(mine))]
            made = block(values, owner, mine, etags)
            known = campaigns_of(made)
            assert known == {(f"{c.advertiser}/{c.id}", etag): c for c, etag in zip(mine, etags, strict=True)}
            again = block(Values(), owner, list(known.values()), etags)
            assert bytes(again.sections.whole) == bytes(made.sections.whole)


def test_hours_are_the_same_hours_in_any_order() -> None:
    hours = (3, 167, 40, 8, 136, 72)
    given = of_items(line_item(1, targeting=Targeting(hours=frozenset(hours))))
    other = of_items(line_item(1, targeting=Targeting(hours=frozenset(reversed(hours)))))
    assert bytes(Compiler().compile(given)) == bytes(Compiler().compile(other))


def test_damage_anywhere_is_told_or_is_none() -> None:
    given = random_catalogue(3)
    whole = bytes(block(Values(), given.advertisers[0], of_owner(given, 0)).sections.whole)
    chance = random.Random(1)
    for place in [*range(80), *(chance.randrange(len(whole)) for _ in range(300))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        try:
            found = opened(bytes(damaged), checked=False)
        except ImageError:
            continue
        # What is between the head and the first section is nothing of anybody's.
        good = Sections(whole)
        assert place < good.place("head"), f"a bit at {place} was not noticed"
        assert [one.named for one in found.documents] == [one.named for one in opened(whole).documents]
    for cut in (0, 1, 39, 40, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ImageError):
            opened(whole[:cut], checked=False)


def test_blocks_in_files_are_the_same_snapshot() -> None:
    """Of two files, in no order; cut, mixed up or damaged ones are refused."""
    given = random_catalogue(7)
    whole = Snapshot.open(bytes(Compiler().compile(given)))
    made = [block(Values(), owner, of_owner(given, n)) for n, owner in enumerate(given.advertisers)]
    first, second = made[0].sections.whole, [one.sections.whole for one in made[1:]]
    files = {"2.blocks": bytes(64) + bytes(first), "1.blocks": b"".join(reversed(second))}
    places = [(1, 64)]
    places += [(0, sum(len(later) for later in second[number + 1 :])) for number in range(len(second))]
    stored = Stored(("1.blocks", "2.blocks"), np.array(places))
    image = bytes(Assembler().assemble(made, given, stored))

    def opened_with(files: dict[str, bytes], checked: bool = False) -> Snapshot:
        stores = {
            name: Store(number, memoryview(file)) for number, (name, file) in enumerate(files.items(), 1)
        }
        return Snapshot.open(image, checked, stores.__getitem__)

    found = opened_with(files)
    assert found.stores == ("1.blocks", "2.blocks")
    assert (
        dict(found.campaigns)
        == dict(whole.campaigns)
        == {f"{c.advertiser}/{c.id}": c for c in given.campaigns}
    )
    assert [entry.caps for entry in found.entries] == [entry.caps for entry in whole.entries]
    assert [entry.advertiser for entry in found.entries] == [entry.advertiser for entry in whole.entries]
    with pytest.raises(ImageError, match="files beside it"):
        Snapshot.open(image)
    for checked in (True, False):
        with pytest.raises(ImageError, match="not where they were"):
            opened_with({**files, "1.blocks": files["1.blocks"][:-1]}, checked)
    for place in (80, len(files["2.blocks"]) - 70):
        damaged = bytearray(files["2.blocks"])
        damaged[place] ^= 4
        with pytest.raises(ImageError):
            opened_with({**files, "2.blocks": bytes(damaged)})
    other = block(Values(), given.advertisers[0], [*of_owner(given, 0)[1:], *of_owner(given, 0)[:1]])
    if len(other.sections.whole) == len(first):
        with pytest.raises(ImageError, match="another"):
            opened_with({**files, "2.blocks": bytes(64) + bytes(other.sections.whole)})


def test_a_block_of_another_advertiser_of_the_same_size_is_refused() -> None:
    one, other = (catalogue([campaign(1, line_item(serial), advertiser="acme")]) for serial in (1, 2))
    made = [block(Values(), given.advertisers[0], given.campaigns) for given in (one, other)]
    image = bytes(Assembler().assemble(made[:1], one, Stored(("1.blocks",), np.array([[0, 0]]))))
    mine, theirs = (Store(1, memoryview(bytes(given.sections.whole))) for given in made)
    assert len(mine.given) == len(theirs.given)
    Snapshot.open(image, False, lambda name: mine)
    with pytest.raises(ImageError, match="a block of the image is another"):
        Snapshot.open(image, False, lambda name: theirs)
