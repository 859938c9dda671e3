"""Decision cases: reading them and playing them (docs/DECISIONS.md tells their form and shows some)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from world import NOBODY, NOON_MS, World, duration, instant

from adserver.domain.deals import Market
from adserver.services.ask import Asker, Terms
from adserver.services.calls import Call
from adserver.services.refusals import Refused

Case = dict[str, Any]

HERE = Path(__file__).parent
FOLDERS = ("exemplary", "supplemental", "invalid")
DOCUMENTS = ("publishers", "campaigns", "audiences", "advertisers", "rates")
FIELDS = {"description", *DOCUMENTS, "now", "seed", "before", "asker", "terms", "request", "seeds",
          "expected", "after"}  # fmt: skip
STEP_FIELDS = {"at", "as", "times", "seed", "asker", "terms", "request", "expected", "event", "release", "of",
               "call", "verdict", "billed", "location", "delivery", "restart", "tick", "archive", "paid_in",
               *DOCUMENTS}  # fmt: skip


def paths(folder: str) -> list[Path]:
    return sorted((HERE / folder).glob("*.json"))


def load(path: Path) -> Case:
    case: Case = json.loads(path.read_text())
    _known(case, FIELDS)
    for step in (*case.get("before", ()), *case.get("after", ())):
        _known(step, STEP_FIELDS)
    return case


def _known(fields: Case, known: set[str]) -> None:
    unknown = set(fields) - known
    assert not unknown, f"not fields of a case: {sorted(unknown)}"


class Play:
    """One case being played. ``answers``: by the name of their step, the final one ``last``."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.now_ms = instant(case["now"]) if "now" in case else NOON_MS
        self.answers: dict[str, bytes] = {}
        # The world begins before its earliest step: nothing of the past is known to it.
        begin = min([self.now_ms, *(self._at(step) for step in case.get("before", ()) if "at" in step)])
        documents = {kind: case[kind] for kind in DOCUMENTS if kind in case}
        self.world = World(folder, begin, **documents)

    def run(self) -> None:
        with self.world:
            self._steps(self.case.get("before", ()))
            self.world.clock.ms = self.now_ms
            if "seeds" in self.case:
                self._shares()
            else:
                self._ask({"seed": 1, **self.case, "as": "last"})
            self._steps(self.case.get("after", ()))

    def _at(self, step: Case) -> int:
        text = step["at"]
        return instant(text) if "T" in text else self.now_ms + duration(text)

    def _steps(self, steps: list[Case]) -> None:
        for step in steps:
            if "at" in step:
                self.world.clock.ms = self._at(step)
            self._step(step)

    def _step(self, step: Case) -> None:
        documents = {kind: step[kind] for kind in DOCUMENTS if kind in step}
        if documents:
            self.world.put(**documents)
        if "archive" in step:
            self.world.archive(*step["archive"])
        if "paid_in" in step:
            self.world.pay_in(*step["paid_in"])
        if step.get("tick"):
            self.world.tick()
        if step.get("restart"):
            self.world.restart(clean=step["restart"] == "clean")
        if "request" in step:
            for _ in range(step.get("times", 1)):
                self._ask(step)
        if "event" in step or "release" in step:
            self._tell(step)
        if "delivery" in step:
            compare(step["expected"], self.world.delivery(step["delivery"]), "delivery")

    # -- asking ----------------------------------------------------------------------------------

    def _ask(self, step: Case) -> None:
        expected = step.get("expected")
        try:
            answer = self._decide(step, step.get("seed"))
        except Refused as refused:
            assert expected is not None and "error" in expected, f"refused: {refused} {refused.errors}"
            compare_error(expected["error"], refused)
            return
        if "as" in step:
            self.answers[step["as"]] = answer
        if expected is None:
            return
        assert "error" not in expected, f"answered where it should be refused: {answer!r}"
        if "same_as" in expected:
            assert answer == self.answers[expected["same_as"]]
        compare_answer(expected, json.loads(answer))

    def _decide(self, step: Case, seed: int | None) -> bytes:
        asker = Asker(**step["asker"]) if "asker" in step else NOBODY
        terms = {name: tuple(v) if isinstance(v, list) else v for name, v in step.get("terms", {}).items()}
        if "markets" in terms:
            terms["markets"] = msgspec.convert(terms["markets"], tuple[Market, ...])
        return self.world.decide_bytes(step["request"], seed, asker, Terms(**terms))

    def _shares(self) -> None:
        """How often each line item (or creative) wins over many seeds."""
        wins: Counter[str] = Counter()
        for seed in range(self.case["seeds"]):
            for ad in _ads(json.loads(self._decide(self.case, seed * 0x9E3779B97F4A7C15 % 2**64))):
                wins[_full_id(ad)] += 1
                wins[f"{_full_id(ad)}/{ad['creative']['id']}"] += 1
        for name, (least, most) in self.case["expected"]["wins"].items():
            assert least <= wins[name] <= most, f"{name}: {wins[name]} of {self.case['seeds']}"

    # -- telling ---------------------------------------------------------------------------------

    def _tell(self, step: Case) -> None:
        answer, _, number = step["of"].partition("/")
        ad = _ads(json.loads(self.answers[answer]))[int(number or 0)]
        if "release" in step:
            self.world.event(ad["release_url"])
            return
        urls = {**ad.get("events", {}), **{k.removesuffix("_url"): v for k, v in ad.items() if "_url" in k}}
        call = Call(**step["call"]) if "call" in step else None
        verdict = self.world.event(urls[step["event"]], call)
        assert verdict.status.name.lower() == step.get("verdict", "accepted")
        for name in ("billed", "location"):
            if name in step:
                assert getattr(verdict, name) == step[name], f"{name}: {getattr(verdict, name)}"


def _ads(answer: Any) -> list[Any]:
    return [ad for decision in answer["decisions"] for ad in decision["ads"]]


def _full_id(ad: Any) -> str:
    return f"{ad['advertiser']}/{ad['campaign']}/{ad['line_item']}"


# -- comparing -----------------------------------------------------------------------------------


def compare_answer(expected: Case, answer: Any) -> None:
    """Of the decisions: ads, no_fill and unfilled exactly, anything else where it is named."""
    if "decisions" in expected:
        found = answer["decisions"]
        assert len(found) == len(expected["decisions"])
        for number, (wanted, decision) in enumerate(zip(expected["decisions"], found, strict=True)):
            _compare_decision(wanted, decision, f"decisions[{number}]")
    for placement, line_items in enumerate(expected.get("explain", ())):
        told = {line["line_item"]: line for line in answer["explain"][placement]["line_items"]}
        for name, wanted in line_items.items():
            if wanted is None:
                assert name not in told, f"explain told of {name}"
            else:
                compare(wanted, told[name], f"explain {name}")


def _compare_decision(wanted: Case, decision: Any, where: str) -> None:
    names = [_full_id(ad) for ad in decision["ads"]]
    ads = [ad if isinstance(ad, dict) else {"is": ad} for ad in wanted.get("ads", ())]
    reasons = f"{where}: {names} unfilled {decision['unfilled']} no_fill {decision['no_fill']}"
    assert names == [ad["is"] for ad in ads], reasons
    assert decision["no_fill"] == wanted.get("no_fill"), reasons
    if "feed" not in decision or "unfilled" in wanted:
        assert decision["unfilled"] == wanted.get("unfilled", 0), reasons
    for number, ad in enumerate(ads):
        rest = {name: value for name, value in ad.items() if name != "is"}
        compare(rest, decision["ads"][number], f"{where}.ads[{number}]")
    rest = {name: value for name, value in wanted.items() if name not in ("ads", "no_fill", "unfilled")}
    compare(rest, decision, where)


def compare(wanted: Any, found: Any, where: str) -> None:
    """Everything that is wanted is there; more may be. A list of objects is compared by place, one of
    delivery's line items too; ``"<absent>"`` means the member is not there."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), f"{where}: {found!r}"
        for name, value in wanted.items():
            if value == "<absent>":
                assert name not in found, f"{where}.{name}: {found[name]!r}"
            else:
                assert name in found, f"{where}: no {name} in {found!r}"
                compare(value, found[name], f"{where}.{name}")
    elif isinstance(wanted, list) and any(isinstance(value, dict) for value in wanted):
        assert len(wanted) == len(found), f"{where}: {found!r}"
        for number, (value, other) in enumerate(zip(wanted, found, strict=True)):
            compare(value, other, f"{where}[{number}]")
    else:
        assert wanted == found, f"{where}: {found!r}, wanted {wanted!r}"


def compare_error(wanted: Case, refused: Refused) -> None:
    assert refused.status == wanted["status"], f"{refused.status}: {refused} {refused.errors}"
    if "paths" in wanted:
        assert [path for path, _ in refused.errors] == wanted["paths"], refused.errors
    compare(wanted.get("extra", {}), refused.extra, "extra")


def no_fills(case: Case) -> set[str]:
    """The reasons this case expects."""
    steps = [*case.get("before", ()), case, *case.get("after", ())]
    decisions = [d for step in steps for d in step.get("expected", {}).get("decisions", ())]
    return {decision["no_fill"] for decision in decisions if decision.get("no_fill")}
