"""The optimum of a large auction, from above, person by person.

A program of everybody at once takes hours. What ties people together is budgets and plans alone: with a price
on each (Lagrange), every person is a small program of their own, and

    sum of prices * bounds  +  sum over people of the most that is left of worth after prices

is never below the optimum, whatever the prices are (weak duality), and is it at the best of them. Those taken
here are the marginals of a program in which people are one, and of caps only what they leave in all. Cost:
one program of some thousand rows, and one of a few rows for each person who comes often.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from adserver.domain.campaign import LineItem
from adserver.simulation.run import Found
from loadtests import auction
from loadtests.program import STEP_MS, Key, Program, Request, caps_of, fill, requests_of, slide
from loadtests.supply import Slot

Left = dict[tuple[int, int], float]
"""(line item, quarter of a day) -> what is left of an impression's worth then."""


def bound(found: Found, told: list[Slot]) -> tuple[Counter[int], float] | None:
    """(about what each earns in the optimum, what all earn at most), in nanos."""
    program, mine, alone = auction.without_caps(found, told, _crowd(found, told))
    ties = len(program.bounds)
    for serial, keys in mine.items():
        for most in _most(found.items[serial][1], found.config.start_ms, told):
            program.at_most([(key, 1.0) for key in keys], most)
    worth = auction.worths(found, mine)
    solved = program.solved(worth, "highs-ipm")
    if solved.status != 0:
        return None
    best: Counter[int] = Counter()
    for key, nanos in worth.items():
        best[key[0]] += round(nanos * float(solved.x[program.variables[key]]))
    prices = np.maximum(-solved.ineqlin.marginals[alone:ties], 0.0)
    paid = prices @ program.matrix[alone:ties]
    left = {(key[0], key[1][1]): nanos - float(paid[program.variables[key]]) for key, nanos in worth.items()}
    sold = float(prices @ np.array(program.bounds[alone:ties]))
    return best, sold + _idle(program, worth, paid, alone, ties) + _everybody(found, told, left)


def _crowd(found: Found, told: list[Slot]) -> Counter[Request]:
    """Requests as if all of them were nobody's in particular."""
    places: defaultdict[tuple[Any, ...], list[tuple[tuple[int, ...], int]]] = defaultdict(list)
    for slot in told:
        places[slot.page, _step(slot.at_ms, found.config.start_ms)].append((slot.eligible, slot.count))
    return Counter(("", at_ms, tuple(sorted(one))) for (_, at_ms), one in places.items())


def _step(at_ms: int, start_ms: int) -> int:
    return at_ms - (at_ms - start_ms) % STEP_MS


def _most(item: LineItem, start_ms: int, told: list[Slot]) -> Iterable[int]:
    """About what each of its caps leaves in all."""
    for cap in caps_of(item):
        came: Counter[tuple[str, int]] = Counter()
        for slot in told:
            if item.serial in slot.eligible:
                came[slot.who, (slot.at_ms - start_ms) // cap.per_ms] += slot.count
        yield sum(min(times, cap.limit) for times in came.values())


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
