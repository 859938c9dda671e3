"""The index finds exactly what the scan finds, whatever line items target and requests say: every rule of
targeting at once (``make long`` asks it 10 000 times)."""

from engine_samples import context
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targeting_strategies import (
    LEAVES,
    LETTERED,
    SPECIAL,
    Line,
    asks,
    catalogue,
    lines,
    requests,
    wanted_by,
)
from test_index import found

from adserver.domain import expressions
from adserver.domain.expressions.tree import Matches, Not
from adserver.domain.request import PlacementAsk, Request
from adserver.domain.targeting import DIMENSIONS, Clause, Targeting
from adserver.engine import rules
from adserver.engine.compile import compile_snapshot


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(lines(), min_size=1, max_size=8),
    st.lists(st.tuples(requests(), asks()), min_size=1, max_size=3),
)
def test_index_equals_scan_with_every_rule(
    given: list[Line], asked: list[tuple[Request, PlacementAsk]]
) -> None:
    whole = compile_snapshot(catalogue(given))
    entries = [whole.entries[position] for position in range(len(given))]
    for request, ask in asked:
        here = context(whole, request, ask)
        wanted = {
            entry.line_item.serial
            for entry in entries
            if wanted_by(given[entry.line_item.serial - 1], entry.line_item, request, ask)
        }
        assert {whole.entries[p].line_item.serial for p in found(whole, here)} == wanted
        # Law 6: an explanation finds nothing wrong with those, and something with all others.
        told = {e.line_item.serial for e in entries if rules.first_drop(e, here) is None}
        assert told == wanted


def test_no_rule_is_left_out() -> None:
    """Whoever adds a rule adds it to the strategies."""
    assert {*LETTERED, *SPECIAL} == set(DIMENSIONS)
    assert Targeting.__struct_fields__ == ("clauses", "hours", "custom", "radius")
    assert Clause.__struct_fields__ == ("any", "all", "none")
    trees = [expressions.parse(leaf.text) for leaf in LEAVES]
    assert any(isinstance(tree, Matches) for tree in trees)
    assert any(isinstance(tree, Not) for tree in trees)
