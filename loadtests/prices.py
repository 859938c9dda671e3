"""The optimum of a large auction, from above, person by person.

A program of everybody at once takes hours. What ties people together is budgets and plans alone: with a price
on each (Lagrange), every person is a small program of their own, and

    sum of prices * bounds  +  sum over people of the most that is left of worth after prices

is never below the optimum, whatever the prices are (weak duality), and is it at the best of them. Those taken
here are the means of the marginals of a few programs, each of a sample of the people who stand for all, as
caps tell one person from another. A mean of prices is as good as any: the bound is convex in them. Cost: one
program of some ten thousand rows for a sample, and one of a few rows for each person who comes often.
"""

from collections import Counter, defaultdict
from typing import Any, Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from adserver.simulation.run import Found
from loadtests import auction
from loadtests.program import STEP_MS, Key, Program, Request, caps_of, fill, requests_of, slide
from loadtests.supply import Slot

_PARTS: Final = 8
_SAMPLES: Final = 4
_PEOPLE: Final = 500
"""In a sample at least; fewer are one."""
_VISIT_MS: Final = 3600_000

Left = dict[tuple[int, int], float]
"""(line item, quarter of a day) -> what is left of an impression's worth then."""


class Prices(Struct, frozen=True):
    """Of a sample. ``left``: None known of a line item that it did not meet then; ``sold``: all budgets and
    plans at their prices; ``best``: what each line item earns in its optimum."""

    left: Left
    sold: float
    best: Counter[int]


def bound(found: Found, told: list[Slot]) -> tuple[Counter[int], float] | None:
    """(about what each earns in the optimum, what all earn at most), in nanos."""
    samples = [_priced(found, told, part, weight) for part, weight in _samples(told, found.config.start_ms)]
    prices = [one for one in samples if one is not None]
    if not prices:
        return None
    worth, number = auction.bids_of(found), len(prices)
    met = {(serial, _step(slot.at_ms, found.config.start_ms)) for slot in told for serial in slot.eligible}
    # Whom a sample did not meet then pays nothing in it, which the bound allows.
    left = {key: sum(one.left.get(key, worth[key[0]]) for one in prices) / number for key in met}
    best: Counter[int] = Counter()
    for one in prices:
        best.update({serial: round(nanos / number) for serial, nanos in one.best.items()})
    return best, sum(one.sold for one in prices) / number + _everybody(found, told, left)


def _samples(told: list[Slot], start_ms: int) -> list[tuple[list[Slot], float]]:
    """Places of some of the people, who come as often as others do, and how many each of them stands for. The
    pages of a visit are one instant there."""
    came: Counter[str] = Counter()
    for slot in told:
        came[slot.who] += slot.count
    number_of = min(max(len(came) // _PEOPLE, 1), _PARTS)
    parts: list[set[str]] = [set() for _ in range(number_of)]
    for number, who in enumerate(sorted(came, key=lambda who: (-came[who], who))):
        turn, place = divmod(number, number_of)
        # To and fro, so that nobody is always the one who comes more often.
        parts[place if turn % 2 == 0 else -1 - place].add(who)
    samples = [[slot for slot in told if slot.who in people] for people in parts[:_SAMPLES]]
    return [
        ([_of_visit(slot, start_ms) for slot in part], came.total() / sum(slot.count for slot in part))
        for part in samples if part
    ]  # fmt: skip


def _of_visit(slot: Slot, start_ms: int) -> Slot:
    return replace(slot, at_ms=slot.at_ms - (slot.at_ms - start_ms) % _VISIT_MS)


def _priced(found: Found, told: list[Slot], part: list[Slot], weight: float) -> Prices | None:
    """``weight``: how many of all each in ``part`` stands for."""
    requests = requests_of(found.config, found.items.values(), part)
    program, mine, alone = auction.without_caps(found, told, requests, weight)
    ties = len(program.bounds)
    for serial, keys in mine.items():
        for cap in caps_of(found.items[serial][1]):
            slide(program, keys, cap, weight)
    worth = auction.worths(found, mine)
    solved = program.solved(worth, "highs-ipm")
    if solved.status != 0:
        return None
    best: Counter[int] = Counter()
    for key, nanos in worth.items():
        best[key[0]] += round(nanos * float(solved.x[program.variables[key]]))
    prices = np.maximum(-solved.ineqlin.marginals[alone:ties], 0.0)
    paid = prices @ program.matrix[alone:ties]
    left = {
        (key[0], _step(key[1][1], found.config.start_ms)): nanos - float(paid[program.variables[key]])
        for key, nanos in worth.items()
    }
    sold = float(prices @ np.array(program.bounds[alone:ties]))
    return Prices(left, sold + _idle(program, worth, paid, alone, ties), best)


def _step(at_ms: int, start_ms: int) -> int:
    return at_ms - (at_ms - start_ms) % STEP_MS


def _idle(program: Program, worth: dict[Any, float], paid: Any, alone: int, ties: int) -> float:
    """What variables that are no impressions (what a plan has spent so far) would earn by these prices, each
    up to the row that bounds it alone."""
    rows = program.matrix[alone:ties]
    bounds = {
        int(rows.indices[rows.indptr[row]]): program.bounds[alone + row]
        for row in range(ties - alone) if rows.indptr[row + 1] - rows.indptr[row] == 1
    }  # fmt: skip
    numbers = (number for key, number in program.variables.items() if key not in worth)
    return sum(max(-float(paid[number]), 0.0) * bounds[number] for number in numbers)


def _everybody(found: Found, told: list[Slot], left: Left) -> float:
    """The most of each person, added up."""
    people: defaultdict[str, list[tuple[Request, int]]] = defaultdict(list)
    for request, times in requests_of(found.config, found.items.values(), told).items():
        people[request[0]].append((request, times))
    strangers = sum(times * _person(found, [(request, 1)], left) for request, times in people.pop("", []))
    return strangers + sum(_person(found, theirs, left) for theirs in people.values())


def _person(found: Found, requests: list[tuple[Request, int]], left: Left) -> float:
    program, mine = Program(), defaultdict[int, list[Key]](list)
    single, worthy = auction.singles(found), Counter[Request]()
    for (who, at_ms, places), times in requests:
        step = _step(at_ms, found.config.start_ms)
        kept = (
            (tuple(serial for serial in eligible if left[serial, step] > 0), count)
            for eligible, count in places
        )
        # Which may make two requests alike.
        worthy[who, at_ms, tuple(sorted(kept))] += times
    for request, times in worthy.items():
        fill(program, mine, request, times, single)
    for serial, keys in mine.items():
        for cap in caps_of(found.items[serial][1]):
            slide(program, keys, cap)
    if not program.variables:
        return 0.0
    worth = {
        key: left[key[0], _step(key[1][1], found.config.start_ms)] for keys in mine.values() for key in keys
    }
    best = program.most(worth, "highs")
    assert best is not None, "nothing for anybody is a solution"
    return sum(best.values())
