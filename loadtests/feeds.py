"""Law 1 from the answers: in every feed account, at every prefix and window, no more than allowed.

All answers of an account are laid over each other: pages answered more than once must be the same, and
the union of the pages is the feed as the reader saw it. Each rule is then asked of the ads' positions as
API.md states it (every pair of ads ends a window), in exact integers, with nothing of the server's layout.
A page that was answered to nobody (a broken connection) only takes ads away, so it cannot raise an alarm.
"""

from collections import defaultdict
from itertools import pairwise

from msgspec import Struct

from adserver.domain.inventory import FeedPolicy
from loadtests.findings import Findings
from loadtests.records import Ad, Decision, Page, Slot
from loadtests.terms import World, session_name


class Account(Struct, frozen=True, order=True):
    """Whose feed: the session and the person, or with ``account: user`` the person alone."""

    publisher: str
    placement: str
    feed: str
    who: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.publisher}/{self.placement} feed {self.feed} of {' and '.join(self.who)}"


Answers = dict[int, list[Slot]]
"""Page number -> every answer to it."""


def check(decisions: list[Decision], world: World) -> Findings:
    """Law 1 over everything answered."""
    found = Findings("1 feed cap", needed=("pages", "sponsored"))
    span_ms = decisions[-1].received_ms - decisions[0].sent_ms if decisions else 0
    for account, pages in sorted(accounts(decisions, world).items()):
        policy = world.feed(account.publisher, account.placement)
        assert policy is not None
        if policy.account_idle_ms < span_ms:
            found.expect(False, f"{account}: account_idle is shorter than the run, which cannot be checked")
            continue
        found.count("accounts")
        _check_account(found, account, pages, policy)
    return found


def accounts(decisions: list[Decision], world: World) -> dict[Account, Answers]:
    """Every feed account that was read."""
    found: dict[Account, Answers] = defaultdict(lambda: defaultdict(list))
    for decision in decisions:
        for slot in decision.slots:
            if slot.page is not None:
                account = _account(decision, slot.placement, slot.page, world)
                found[account][slot.page.page].append(slot)
    return found


def _account(decision: Decision, placement: str, page: Page, world: World) -> Account:
    publisher = decision.publisher
    policy = world.feed(publisher, placement)
    allowed = world.allowed(publisher, decision.personalised, decision.minor)
    person = world.whom(publisher, decision.user, None, allowed)
    if policy is not None and policy.account == "user" and person is not None:
        who: tuple[str, ...] = (person,)
    else:
        who = tuple(name for name in (session_name(publisher, decision.session), person) if name)
    return Account(publisher, placement, page.id, who)


def _check_account(found: Findings, account: Account, pages: Answers, policy: FeedPolicy) -> None:
    ads: list[Ad] = []
    for number in sorted(pages):
        answers = pages[number]
        found.count("pages")
        found.count("repeats", len(answers) - 1)
        same = len({answer.digest for answer in answers}) == 1
        found.expect(same, f"{account}: page {number} was answered differently when it was asked again")
        _check_page(found, f"{account}: page {number}", answers[0], policy)
        ads += answers[0].ads
    _check_chain(found, account, pages)
    ads.sort(key=lambda ad: ad.position)
    found.count("sponsored", len(ads))
    _check_prefixes(found, account, ads, policy)
    _check_windows(found, account, ads, policy)
    _check_gaps(found, account, ads, policy)


def _check_page(found: Findings, name: str, slot: Slot, policy: FeedPolicy) -> None:
    page = slot.page
    assert page is not None
    positions = [ad.position for ad in slot.ads]
    inside = all(page.start_position <= position < page.next_position for position in positions)
    found.expect(
        inside and len(set(positions)) == len(positions), f"{name}: positions {positions} are not its own"
    )
    items = page.organic + page.sponsored
    found.expect(page.start_position + items == page.next_position, f"{name}: its items do not add up")
    found.expect(
        page.sponsored == len(slot.ads), f"{name}: says {page.sponsored} sponsored, has {len(slot.ads)}"
    )
    found.expect(page.max_share == policy.max_share.text, f"{name}: says its share is {page.max_share}")
    found.expect(
        len(slot.ads) <= policy.max_per_page,
        f"{name}: {len(slot.ads)} ads, max_per_page is {policy.max_per_page}",
    )


def _check_chain(found: Findings, account: Account, pages: Answers) -> None:
    """Each page begins where the one before ended."""
    ends = {-1: 0}
    for number in sorted(pages):
        page = pages[number][0].page
        assert page is not None
        start = ends.get(number - 1, page.start_position)
        found.expect(
            page.start_position == start,
            f"{account}: page {number} begins at {page.start_position}, not {start}",
        )
        ends[number] = page.next_position


def _check_prefixes(found: Findings, account: Account, ads: list[Ad], policy: FeedPolicy) -> None:
    """A prefix is at its fullest where it ends with an ad."""
    share = policy.max_share
    for ordinal, ad in enumerate(ads, 1):
        items = ad.position + 1
        most = share.num * (items + policy.head_start) // share.den
        found.count("prefixes")
        found.expect(
            ordinal <= most, f"{account}: {ordinal} sponsored in the first {items} items, at most {most}"
        )


def _check_windows(found: Findings, account: Account, ads: list[Ad], policy: FeedPolicy) -> None:
    """A window is at its fullest where it begins and ends with an ad."""
    share = policy.max_share
    for first in range(len(ads)):
        for last in range(first + 1, len(ads)):
            items = ads[last].position - ads[first].position + 1
            most = share.num * items // share.den + policy.max_burst
            found.count("windows")
            number, start = last - first + 1, ads[first].position
            message = f"{account}: {number} sponsored in {items} items from {start}, at most {most}"
            found.expect(number <= most, message)


def _check_gaps(found: Findings, account: Account, ads: list[Ad], policy: FeedPolicy) -> None:
    if ads:
        first = ads[0].position
        found.expect(
            first >= policy.first_position, f"{account}: an ad at {first}, before {policy.first_position}"
        )
    for one, other in pairwise(ads):
        between = other.position - one.position - 1
        where = f"between {one.position} and {other.position}"
        message = f"{account}: {between} organic items {where}, at least {policy.min_gap}"
        found.expect(between >= policy.min_gap, message)
    last: dict[str, int] = {}
    for ad in ads:
        if ad.advertiser in last:
            between = ad.position - last[ad.advertiser] - 1
            where = f"between two ads of {ad.advertiser}"
            message = f"{account}: {between} items {where}, at least {policy.advertiser_gap}"
            found.expect(between >= policy.advertiser_gap, message)
        last[ad.advertiser] = ad.position
