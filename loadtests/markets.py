"""Markets in which guarantees are scarce: `docs/simulation/scarce.yaml` at other loads and with other seeds,
and with goals of more kinds; each judged as `loadtests.optimum` does.

    python -m loadtests.markets 0.8-2 0.9-2-mixed

are the one of 80 % load and seed 2, and the one of 90 % and seed 2 in which half of the goals are of clicks,
views and spend, and one line item is promised a share of its traffic instead. Needs scipy.
"""

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson
from msgspec.structs import replace

from adserver.simulation import generated
from adserver.simulation.config import Config, read_config
from loadtests import optimum

_SCARCE: Final = Path(__file__).parents[1] / "docs" / "simulation" / "scarce.yaml"
_CLICKED: Final = 0.02
"""Of the impressions of a line item with a goal of clicks."""
_SHARE: Final = 5
"""The line item that is promised a share of its traffic."""


def market(load: float, seed: int, mixed: bool, folder: Path) -> Config:
    """``folder``: for the campaign files of mixed goals."""
    config = read_config(_SCARCE)
    assert config.generated is not None
    asked = replace(config.generated, load=load)
    config = replace(config, seed=seed, generated=asked)
    if not mixed:
        return config
    generated.write(config, asked, folder)
    clicked = {}
    for number in range(asked.guaranteed):
        path = folder / f"sure-{number}" / "flight.json"
        document = orjson.loads(path.read_bytes())
        item = document["line_items"][0]
        _mix(item, number, config.readers.viewable)
        path.write_bytes(orjson.dumps(document))
        if "clicks" in item["goal"]:
            clicked[f"sure-{number}/flight/line"] = _CLICKED
    return replace(
        config, generated=None, campaigns=folder, readers=replace(config.readers, line_items=clicked)
    )


def _mix(item: dict[str, Any], number: int, viewable: float) -> None:
    """A goal of another kind that takes as many impressions as its own did."""
    amount, price = item["goal"]["impressions"], float(item["pricing"]["amount"])
    if number == _SHARE:
        item |= {"goal": {"share": "0.1"}, "priority": "sponsorship"}
    elif number % 6 == 1:
        item["goal"] = {"clicks": max(round(amount * _CLICKED), 1)}
        item["pricing"] = {"model": "cpc", "amount": f"{price / 1000 / _CLICKED:.2f}"}
    elif number % 6 == 2:
        item["goal"] = {"spend": f"{amount * price / 1000:.2f}"}
    elif number % 6 == 4:
        item["goal"] = {"viewable": max(round(amount * viewable), 1)}


Named = tuple[str, float, int, bool]


def _named(name: str) -> Named:
    """(name, load, seed, mixed). Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d\.\d+)-(\d+)(-mixed)?", name)
    if found is None:
        raise argparse.ArgumentTypeError(f"{name!r} is not load-seed or load-seed-mixed, as 0.8-2")
    return name, float(found[1]), int(found[2]), found[3] is not None


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.markets")
    parser.add_argument("markets", nargs="+", type=_named, help="load-seed, or load-seed-mixed")
    parser.add_argument("--out", type=Path, default=Path("simulation"), help="where the runs' tables go")
    asked = parser.parse_args()
    for name, load, seed, mixed in asked.markets:
        with TemporaryDirectory(prefix="adserver-market-") as folder:
            config = market(load, seed, mixed, Path(folder))
            print(f"## {name}", "", *optimum.guaranteed(config, asked.out / name), sep="\n", flush=True)


if __name__ == "__main__":
    main()
