"""Arrows point inward only (DESIGN, "The house"): a walk over every import, over every call of eval, and over
how long files are."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "adserver"
FILES = sorted(HOUSE.rglob("*.py"))

MAY = {
    "domain": {"domain"},
    "engine": {"engine", "domain"},
    "services": {"services", "engine", "domain"},
    "state": {"state", "domain"},
    "ledger": {"ledger", "domain"},
    "telemetry": {"telemetry", "domain"},
    "catalog": {"catalog", "engine", "domain"},
    "api": {"api", "services", "engine", "domain"},
    "errands": {"errands", "domain"},
}
"""What each room may import of the others."""

LOOSE = {
    "tokens": {"domain", "octets"},
    "octets": {"_octets"},
    "clock": set[str](),
    "databases": {"domain", "patience"},
    "patience": set[str](),
    "migrating": {"databases"},
    "settings": {"domain", "hosts"},
    "hosts": {"domain"},
    "geography": set[str](),
    "networks": set[str](),
    "addresses": {"networks"},
    "children": set[str](),
    "salts": {"domain"},
    "checkpoints": {"domain"},
    "collector": set[str](),
}
"""Files of no room that are tools: what they may import."""

TOOLS = {
    "services": {"tokens", "clock"},
    "api": {"tokens", "octets", "clock", "settings"},
    "catalog": {"databases", "migrating"},
    "ledger": {"octets", "databases", "migrating", "patience"},
    "state": {"octets"},
}

PURE = {"domain", "engine"}
IMPURE = {
    *("time", "random", "secrets", "uuid", "os", "io", "pathlib", "tempfile", "shutil", "logging"),
    *("socket", "select", "ssl", "http", "urllib", "asyncio", "threading", "subprocess", "sqlite3"),
    *("sqlalchemy", "uvicorn", "starlette", "httptools", "uvloop", "yaml", "prometheus_client", "maxminddb"),
}
TYING = {
    "app",
    "asking",
    "cli",
    "lessee",
    "machines",
    "billed",
    "doors",
    "demo",
    "bench",
    "building",
    "posting",
    "workers",
    "simulation",
    "commands",
    "options",
    "recovery",
    "screens",
    "replaying",
    "duties",
    "lifespan",
    "near",
    "offering",
    "watching",
    "serving",
    "sharing",
    "__main__",
    "__init__",
}
"""What ties the knot, or is run from outside: these may import anything of ours."""


def room(path: Path) -> str:
    parts = path.relative_to(HOUSE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(module, line) of every import, wherever it stands; ``TYPE_CHECKING`` ones too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            if module == "adserver":
                yield from ((f"adserver.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def ours(path: Path) -> Iterator[tuple[str, int]]:
    """(room or file of ours that is imported, line)."""
    for module, line in imports(path):
        parts = module.split(".")
        if parts[0] == "adserver" and len(parts) > 1 and parts[1] != "__version__":
            yield parts[1], line


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_arrows_point_inward(path: Path) -> None:
    mine = room(path)
    if mine in TYING:
        return
    allowed = MAY.get(mine, set()) | TOOLS.get(mine, set()) | LOOSE.get(mine, set())
    assert mine in MAY or mine in LOOSE, f"{mine} is no room of the house: say here what it may import"
    wrong = [f"line {line}: {name}" for name, line in ours(path) if name not in allowed]
    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize(
    "path", [p for p in FILES if room(p) in PURE], ids=lambda p: str(p.relative_to(HOUSE))
)
def test_domain_and_engine_are_pure(path: Path) -> None:
    """No clock, no chance, no network, no files, no settings: time and seed are arguments."""
    wrong = [f"line {line}: {name}" for name, line in imports(path) if name.split(".")[0] in IMPURE]
    assert not wrong, wrong
    known = set(sys.stdlib_module_names) | {"adserver", "msgspec", "numpy", "re2"}
    strange = [name for name, _ in imports(path) if name.split(".")[0] not in known]
    assert not strange, strange
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("now", "utcnow", "today"), f"{path}:{node.lineno}: reads a clock"
        if isinstance(node, ast.Name):
            assert node.id not in ("open", "print", "input"), f"{path}:{node.lineno}: {node.id}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_nothing_is_evaluated(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__"), f"{path}:{node.lineno}"
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {"pickle", "marshal", "shelve", "dill"} & {name.split(".")[0] for name in names}, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_files_are_short(path: Path) -> None:
    """All limits stand in one, a name a line: a list to look things up in, which may grow."""
    most = 400 if path == HOUSE / "domain" / "limits.py" else 300
    assert len(path.read_text().splitlines()) <= most


def test_the_walk_sees_something() -> None:
    """A walk over nothing passes everything."""
    assert len(FILES) > 100
    assert {room(path) for path in FILES} >= set(MAY)
    assert sum(len(list(ours(path))) for path in FILES) > 500
