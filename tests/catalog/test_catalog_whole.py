"""Examining only whom a change can break finds what examining everything finds."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.catalog.drafts import Draft, Key, read
from adserver.catalog.whole import Held, affected, examine

NAMES = ("ada", "bob")


def campaign(owner: str, number: int, audience: str, currency: str) -> Draft:
    item = {
        "id": "l",
        "priority": "house",
        "pricing": {"model": "cpm", "amount": "0"},
        "targeting": {"audiences": [audience], "placements": [f"{NAMES[number]}/p"]},
    }
    body = {"advertiser": owner, "campaign": f"c{number}", "currency": currency, "line_items": [item]}
    return _read("campaign", f"{owner}/c{number}", body)


def advertiser(name: str, currency: str, limited: bool) -> Draft:
    budget = {"budget": {"daily": "10.00"}} if limited else {}
    return _read("advertiser", name, {"advertiser": name, "currency": currency, **budget})


def publisher(name: str) -> Draft:
    return _read("publisher", name, {"publisher": name, "currency": "EUR"})


def placement(owner: str) -> Draft:
    return _read("placement", f"{owner}/p", {"id": "p", "surface": "page", "formats": ["image"]})


def audience(owner: str, kind: str) -> Draft:
    return _read("audience", f"{owner}/fans", {"audience": "fans", kind: owner, "user_space": "s"})


def _read(kind: str, full_id: str, body: dict[str, object]) -> Draft:
    drafts, problems = read(kind, full_id, body)  # type: ignore[arg-type]
    assert not problems, problems
    return drafts[0]


names, currencies = st.sampled_from(NAMES), st.sampled_from(("EUR", "USD"))
drafts = st.one_of(
    st.builds(campaign, names, st.integers(0, 1), st.sampled_from(("fans", "bob/fans")), currencies),
    st.builds(advertiser, names, currencies, st.booleans()),
    st.builds(publisher, names),
    st.builds(placement, names),
    st.builds(audience, names, st.sampled_from(("advertiser", "publisher"))),
)
changes = st.lists(
    st.tuples(st.lists(drafts, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=14
)


@given(changes)
def test_whom_a_change_can_break(changes: list[tuple[list[Draft], bool]]) -> None:
    before: dict[Key, Held] = {}
    for together, archived in changes:
        changed = {draft.key: Held(draft, archived) for draft in together}
        if archived:
            changed = {key: held for key, held in changed.items() if key in before}
        after = before | changed
        everything = examine(after)
        some = examine(after, affected(changed, before))
        assert sorted(map(str, some)) == sorted(map(str, everything))
        if not everything:
            before = after


def test_campaigns_and_what_is_new_concern_few() -> None:
    held = {draft.key: Held(draft) for draft in (advertiser("ada", "EUR", False), publisher("bob"))}
    assert affected([("campaign", "ada/c0")], held) == [("campaign", "ada/c0")]
    assert affected([("publisher", "ada")], held) == [("publisher", "ada"), ("advertiser", "ada")]
    assert affected([("advertiser", "ada")], held) is None
