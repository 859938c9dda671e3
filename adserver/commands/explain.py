"""``adserver explain``: why each line item did or did not serve a request, asked of a running server."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adserver.commands.remote import Remote
from adserver.commands.shown import plain, show_table
from adserver.domain import limits
from adserver.options import Wrong

Told = dict[str, Any]


def explain(file: Path | None, remote: Remote, line_items: list[str], as_json: bool) -> None:
    """``file`` None: standard input. Raises Wrong, also for ``line_items`` that are not there, behind what is
    told of the others; Failed."""
    request = _request(file)
    request["explain"] = True
    if line_items:
        request["explain_line_items"] = line_items
    answer = remote.post("/v1/decisions", request)
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        _show(answer)
    told = [{one["line_item"] for one in placement["line_items"]} for placement in answer["explain"] or ()]
    missing = [name for name in line_items if told and not any(name in known for known in told)]
    if missing:
        raise Wrong(f"no such line item here, or not yet: {', '.join(missing)}")


def _request(file: Path | None) -> Told:
    named = "standard input" if file is None else str(file)
    try:
        with sys.stdin.buffer if file is None else file.open("rb") as source:
            raw = source.read(limits.REQUEST_BYTES + 1)
    except OSError as error:
        raise Wrong(f"{named}: {error.strerror}") from error
    if len(raw) > limits.REQUEST_BYTES:
        raise Wrong(f"{named} is larger than a decision request may be ({limits.REQUEST_BYTES} bytes)")
    try:
        request = json.loads(raw)
    except ValueError as error:
        raise Wrong(f"{named} is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise Wrong(f"{named} is not a decision request: a JSON object")
    return request


# -- as tables -------------------------------------------------------------------------------------


def _show(answer: Told) -> None:
    console = Console(highlight=False)
    explained = {told["placement"].rpartition("/")[2]: told for told in answer["explain"] or ()}
    for decision in answer["decisions"]:
        served = f"{len(decision['ads'])} served"
        unfilled = f", {decision['unfilled']} unfilled: {decision['no_fill']}" if decision["no_fill"] else ""
        console.print(Text(plain(f"{decision['placement']}: {served}{unfilled}"), style="bold"))
        told = explained.get(decision["placement"])
        if told is None:
            console.print("  not decided anew: nothing to explain")
            continue
        _show_left(console, told.get("counts"))
        show_table(_line_items(told["line_items"]))


def _show_left(console: Console, counts: Told | None) -> None:
    """How many line items each step left."""
    if counts is None:
        return
    for step in counts["steps"]:
        console.print(f"  {step['out']:>9} out  {plain(step['rule'])}")
    console.print(f"  {counts['left']:>9} left of {counts['of']}")


def _line_items(line_items: list[Told]) -> Table:
    table = Table(box=None)
    for name in ("rank", "line item", "outcome", "why", "what would win"):
        table.add_column(name, overflow="fold")
    for told in line_items:
        cells = (str(told["rank"]), told["line_item"], _outcome(told), _why(told), _wins(told))
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _outcome(told: Told) -> str:
    return str(told["reason"] if told["outcome"] == "dropped" else told["outcome"])


def _why(told: Told) -> str:
    if told["outcome"] == "dropped":
        return f"{told['rule']}: wanted {_value(told['wanted'])}, got {_value(told['got'])}"
    if told["outcome"] == "outbid":
        by, score = told.get("beaten_by"), told.get("beaten_by_score_micros")
        return f"by {by or 'another'}" + (f" at {score / 1e6:.6g}" if score is not None else "")
    return f"score {told['score_micros'] / 1e6:.6g}"


def _wins(told: Told) -> str:
    """The counterfactual in a line."""
    found = told.get("counterfactual")
    if found is None:
        return ""
    if found["change"] is None:
        return "no single change: " + ", then ".join(
            str(one.get("rule", one["outcome"])) for one in found["obstacles"]
        )
    said = {name: value for name, value in found.items() if name not in ("change", "from", "from_micros")}
    return f"{found['change']} " + " ".join(f"{name} {_value(value)}" for name, value in said.items())


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
