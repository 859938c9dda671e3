"""A request id asked again is answered again: byte for byte the same, and nothing new is reserved."""

from collections import defaultdict

from loadtests.findings import Findings
from loadtests.records import Decision


def check(decisions: list[Decision]) -> Findings:
    found = Findings("repeated requests")
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for decision in decisions:
        if decision.request is None or decision.status != 200:
            continue
        if any(slot.no_fill == "overloaded" for slot in decision.slots):
            continue
        key = (decision.publisher, decision.request)
        found.count("repeats" if key in answers else "requests with an id")
        answers[key].add(decision.digest)
    for (publisher, request), digests in answers.items():
        found.expect(
            len(digests) == 1, f"request {request} of {publisher} had {len(digests)} different answers"
        )
    return found
