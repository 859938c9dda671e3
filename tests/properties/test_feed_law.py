"""Law 1 over random feed sessions: whatever pages are asked for, in whatever order, across restarts, lost
state and receipts, the feed a reader saw obeys every rule at every prefix and window.

A session is a function of its number; a failure names it. The checker is in ``feed_sessions``.
"""

from fractions import Fraction
from math import floor
from random import Random

import msgspec
import pytest
from feed_sessions import LABELS, Candidate, Reader, Server, law_broken, spacing_broken

from adserver.domain.inventory import FeedPolicy, Share

SHARES = ("0.06", "0.05", "0.07", "0.5", "1", "0.001", "0.333333", "0.25", "0.999999", "0.1", "0.02")
IDLE_MS = 4 * 3600_000


def share(text: str) -> Share:
    exact = Fraction(text)
    return Share(exact.numerator, exact.denominator, text)


def random_policy(chance: Random) -> FeedPolicy:
    text = chance.choice(SHARES)
    return FeedPolicy(
        max_share=share(text),
        head_start=chance.choice((0, 0, chance.randrange(max(1, int(1 / Fraction(text)))))),
        max_burst=chance.choice((1, 1, 2, 3, 10)),
        first_position=chance.choice((0, 0, 1, 3, 25)),
        min_gap=chance.choice((0, 0, 1, 4, 12)),
        advertiser_gap=chance.choice((0, 0, 3, 10, 30)),
        max_per_page=chance.choice((40, 40, 1, 2, 5)),
        account_idle_ms=IDLE_MS,
    )


def random_candidates(chance: Random) -> list[Candidate]:
    def some() -> tuple[str, ...]:
        return tuple(label for label in LABELS if chance.random() < 0.15)

    return [Candidate(chance.randrange(1, 12), some(), some()) for _ in range(chance.choice((1, 3, 8)))]


def run_session(number: int) -> int:
    """Returns how many ads were shown."""
    chance = Random(number)
    policy = random_policy(chance)
    server = Server(policy, random_candidates(chance), chance, chance.choice((0.0, 0.0, 0.5)))
    readers = [Reader(bytes([n]) * 16, server, chance) for n in range(chance.choice((1, 1, 2, 3)))]
    now_ms = 1_800_000_000_000
    for _ in range(chance.randrange(4, 24)):
        now_ms += chance.randrange(30_000)
        step(server, chance.choice(readers), now_ms, chance)
        if chance.random() < 0.02:
            now_ms += IDLE_MS + 1
            server.feeds.sweep(now_ms)
    for reader in readers:
        reader.check()
    return sum(len(answered.slot.ads) for reader in readers for answered in reader.shown)


def step(server: Server, reader: Reader, now_ms: int, chance: Random) -> None:
    roll = chance.random()
    if roll < 0.65:
        reader.read_on(now_ms)
    elif roll < 0.77:
        reader.read_again(now_ms)
    elif roll < 0.83:
        reader.skip_ahead(now_ms)
    elif roll < 0.87:
        reader.dry_run(now_ms)
    elif roll < 0.90:
        server.checkpoint = (server.feeds.dump(), len(server.records))
    elif roll < 0.95:
        server.restart(chance.choice(("records", "checkpoint")))
    elif roll < 0.97:
        server.restart("lost")
    else:
        server.power_cut(chance.randrange(1, 4))


def run_sessions(numbers: range) -> None:
    shown = 0
    for number in numbers:
        try:
            shown += run_session(number)
        except BaseException as error:
            error.add_note(f"feed session {number}")
            raise
    assert shown > len(numbers), "the sessions showed hardly an ad"


def test_the_law_holds_in_500_random_sessions() -> None:
    run_sessions(range(500))


@pytest.mark.slow
def test_the_law_holds_in_10_000_random_sessions() -> None:
    run_sessions(range(500, 10_500))


# -- not too strict either -----------------------------------------------------------------------


def most_by_trying(policy: FeedPolicy, organics: list[int]) -> int:
    """The most ads the law allows on pages of these many organic items, every ad another advertiser's:
    all layouts, tried one item at a time; of those that reach the same situation, one suffices."""
    exact = Fraction(policy.max_share.text)
    layouts: set[tuple[int, ...]] = {()}
    for organic in organics:
        layouts = {done for ads in layouts for done in _pages(policy, exact, ads, organic)}
    return max(sum(ads) for ads in layouts)


def _pages(
    policy: FeedPolicy, exact: Fraction, before: tuple[int, ...], organic: int
) -> list[tuple[int, ...]]:
    done, open_ = [], [(before, organic, 0)]
    while open_:
        items, left, on_page = open_.pop()
        if left == 0:
            if not items or items[-1] == 0 or len(items) == len(before):
                done.append(items)
            continue
        open_.append(((*items, 0), left - 1, on_page))
        if on_page < policy.max_per_page and _may_stand(policy, exact, items):
            open_.append(((*items, 1), left, on_page + 1))
    return done


def _may_stand(policy: FeedPolicy, exact: Fraction, items: tuple[int, ...]) -> bool:
    position, total = len(items), sum(items) + 1
    if position < policy.first_position or total > floor(exact * (position + 1 + policy.head_start)):
        return False
    if any(items[max(0, position - policy.min_gap) :]):
        return False
    return all(
        sum(items[begin:]) + 1 <= floor(exact * (position + 1 - begin)) + policy.max_burst
        for begin in range(position + 1)
    )


def greedy_by_trying(policy: FeedPolicy, organics: list[int]) -> int:
    """The same with an ad wherever one may stand: for feeds too long for all layouts."""
    exact, items = Fraction(policy.max_share.text), ()
    for organic in organics:
        on_page = 0
        while organic:
            ad = on_page < policy.max_per_page and _may_stand(policy, exact, items)
            items, on_page, organic = (*items, int(ad)), on_page + ad, organic - (not ad)
    return sum(items)


def served(policy: FeedPolicy, organics: list[int]) -> int:
    """What we serve where there is no lack of candidates."""
    plenty = [Candidate(n) for n in range(60)]
    server = Server(policy, plenty, Random(0))
    reader = Reader(b"r" * 16, server, Random(0))
    for page, organic in enumerate(organics):
        reader.shown.append(server.serve(reader.ask(page, organic), 1_800_000_000_000))
    assert law_broken(policy, [server.items(a) for a in reader.shown]) is None
    return sum(len(answered.slot.ads) for answered in reader.shown)


@pytest.mark.parametrize("number", range(150))
def test_no_layout_of_a_short_feed_has_more_ads(number: int) -> None:
    chance = Random(number)
    policy = msgspec.structs.replace(
        random_policy(chance), max_share=share(chance.choice(("0.5", "0.25", "0.333333", "1", "0.4"))),
        head_start=chance.choice((0, 0, 1)), advertiser_gap=0, max_per_page=chance.choice((1, 2, 3)),
    )  # fmt: skip
    organics = [chance.randrange(5) for _ in range(3)]
    assert served(policy, organics) == most_by_trying(policy, organics)


@pytest.mark.parametrize("number", range(60))
def test_long_feeds_carry_what_the_law_allows(number: int) -> None:
    chance = Random(number)
    policy = msgspec.structs.replace(random_policy(chance), advertiser_gap=chance.choice((0, 30)))
    organics = [chance.choice((0, 1, 5, 20)) for _ in range(8)]
    ads, most = served(policy, organics), greedy_by_trying(policy, organics)
    assert ads == most if policy.advertiser_gap == 0 else 2 * ads >= most


def test_a_plain_feed_carries_its_whole_share() -> None:
    for text in SHARES:
        policy = FeedPolicy(max_share=share(text))
        ads = served(policy, [20] * 10)
        total = 200 + ads
        assert ads >= min(10 * 40, floor(Fraction(text) * total)) - 1


# -- a policy edited between pages ---------------------------------------------------------------


@pytest.mark.parametrize("number", range(200))
def test_each_ad_obeys_the_policy_of_its_own_page_against_the_whole_past(number: int) -> None:
    chance = Random(number)
    candidates = random_candidates(chance)
    server = Server(random_policy(chance), candidates, chance)
    reader = Reader(b"e" * 16, server, chance)
    items: list[Candidate | None] = []
    for page in range(12):
        if chance.random() < 0.5:
            server.policy = random_policy(chance)
        if chance.random() < 0.2:
            server.restart("records")
        answered = server.serve(reader.ask(page, chance.choice((1, 5, 20))), 1_800_000_000_000)
        for item in server.items(answered):
            if item is not None:
                broken = newest_breaks(server.policy, items, item)
                assert broken is None, broken
            items.append(item)


def newest_breaks(policy: FeedPolicy, before: list[Candidate | None], ad: Candidate) -> str | None:
    """The rule that an ad behind ``before`` breaks: every prefix and window that ends with it."""
    exact, position = Fraction(policy.max_share.text), len(before)
    items = tuple(int(item is not None) for item in before)
    if sum(items) + 1 > floor(exact * (position + 1 + policy.head_start)):
        return "max_share"
    if not _may_stand(msgspec.structs.replace(policy, head_start=10**9), exact, items):
        return "max_burst, min_gap or first_position"
    near = [
        (p, item)
        for p, item in enumerate(before)
        if item is not None and position - p - 1 < policy.advertiser_gap
    ]
    # No spacing between the earlier ones is judged: they stood under another policy.
    for p, item in near:
        broken = spacing_broken(
            msgspec.structs.replace(policy, first_position=0, min_gap=0), [(p, item), (position, ad)]
        )
        if broken:
            return broken
    return None
