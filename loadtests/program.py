"""Who may stand where, as a linear program: every place is filled once, a line item stands once in a request,
and caps hold person by person in windows that slide.

What is worth how much, and which goals or budgets bind, is said by who asks (``auction``, ``optimum``).
Solved by HiGHS. Ads may be divided, so it bounds every division from above.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array

from adserver.domain.campaign import FrequencyCap, LineItem
from adserver.simulation.config import Config
from loadtests.supply import Slot

STEP_MS: Final = 6 * 3600_000

Request = tuple[str, int, tuple[tuple[tuple[int, ...], int], ...]]
"""Who, when, and for each place the line items that may have it and its impressions. Whoever comes too seldom
to reach any cap is nobody in particular, at some time of that quarter of a day: the empty text."""
Key = tuple[int, Request, int]
"""A line item at a place of a request: a variable, how many impressions it has there."""


class Program:
    """Rows of an upper-bounded linear program: sum of coefficient * variable <= bound."""

    def __init__(self) -> None:
        self.variables: dict[Any, int] = {}
        self._bounds: list[float] = []
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._values: list[float] = []

    def at_most(self, terms: Iterable[tuple[Any, float]], bound: float) -> None:
        number = len(self._bounds)
        for key, value in terms:
            self._rows.append(number)
            self._columns.append(self.variables.setdefault(key, len(self.variables)))
            self._values.append(value)
        self._bounds.append(bound)

    @property
    def matrix(self) -> csr_array:
        shape = (len(self._bounds), len(self.variables))
        return csr_array(coo_array((self._values, (self._rows, self._columns)), shape))

    @property
    def bounds(self) -> list[float]:
        return self._bounds

    def most(self, worth: dict[Any, float], method: str = "highs-ipm") -> dict[Any, float] | None:
        """The variables' worths where their sum is largest; None where the rows exclude each other."""
        found = self.solved(worth, method)
        if found.status != 0:
            return None
        return {key: value * float(found.x[self.variables[key]]) for key, value in worth.items()}

    def solved(self, worth: dict[Any, float], method: str) -> Any:
        """As scipy has it, which minimises: what an impression is worth is negative there, so are the
        marginals of rows."""
        cost = np.zeros(len(self.variables))
        for key, value in worth.items():
            cost[self.variables[key]] = -value
        return linprog(cost, A_ub=self.matrix, b_ub=self._bounds, method=method)


def caps_of(item: LineItem) -> list[FrequencyCap]:
    """Those that count a line item's impressions a person."""
    return [
        c for c in item.frequency_caps if (c.scope, c.event, c.session) == ("line_item", "impression", False)
    ]


def requests_of(config: Config, items: Iterable[tuple[Any, LineItem]], told: list[Slot]) -> Counter[Request]:
    """How many there are of each."""
    caps = [cap for _, item in items for cap in caps_of(item)]
    least, longest = min((c.limit for c in caps), default=0), max((c.per_ms for c in caps), default=0)
    seen: defaultdict[str, list[int]] = defaultdict(list)
    for slot in told:
        seen[slot.who].extend([slot.at_ms] * slot.count)
    often = {who for who, times in seen.items() if caps and _most(sorted(times), longest) > least}
    places: defaultdict[tuple[Any, ...], list[tuple[tuple[int, ...], int]]] = defaultdict(list)
    for slot in told:
        known = slot.who in often
        at_ms = slot.at_ms if known else slot.at_ms - (slot.at_ms - config.start_ms) % STEP_MS
        places[slot.page, slot.who if known else "", at_ms].append((slot.eligible, slot.count))
    return Counter((who, at_ms, tuple(sorted(one))) for (_, who, at_ms), one in places.items())


def _most(times: list[int], per_ms: int) -> int:
    """In any stretch of such a length."""
    return max(place + 1 - bisect_right(times, at_ms - per_ms) for place, at_ms in enumerate(times))


def fill(
    program: Program, mine: dict[int, list[Key]], request: Request, times: float, single: set[int]
) -> None:
    """So many requests that are alike: each place is filled once, ``single`` line items stand once in a
    request."""
    once: defaultdict[int, list[Key]] = defaultdict(list)
    for number, (eligible, count) in enumerate(request[2]):
        keys = [(serial, request, number) for serial in eligible]
        program.at_most([(key, 1.0) for key in keys], count * times)
        for key in keys:
            once[key[0]].append(key)
            mine[key[0]].append(key)
    for serial, keys_of in once.items():
        if serial in single and (len(keys_of) > 1 or request[2][keys_of[0][2]][1] > 1):
            program.at_most([(key, 1.0) for key in keys_of], times)


def slide(program: Program, keys: list[Key], cap: FrequencyCap, weight: float = 1.0) -> None:
    """Person by person: no window has more than the cap allows. Those within others are left out.
    ``weight``: how many people each is."""
    people: defaultdict[str, list[Key]] = defaultdict(list)
    for key in keys:
        if key[1][0]:
            people[key[1][0]].append(key)
    for theirs in people.values():
        theirs.sort(key=lambda key: key[1][1])
        times = [key[1][1] for key in theirs]
        first = [bisect_right(times, at_ms - cap.per_ms) for at_ms in times]
        for last, start in enumerate(first):
            if (last + 1 == len(times) or first[last + 1] > start) and last + 1 - start > 0:
                program.at_most([(key, 1.0) for key in theirs[start : last + 1]], cap.limit * weight)
