"""The wheel: it is built and serves with a compiler, and without one."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("adserver", "pyproject.toml", "setup.py", "LICENSE")

WALKS = """
from adserver.engine import index
print(index.kernel is not None)
"""


def built(folder: Path, compiler: dict[str, str]) -> Path:
    """The wheel of a copy of the sources, unpacked."""
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(ROOT / name, copy)
    build = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    )
    subprocess.run((*build, "--wheel-dir", folder, copy), check=True, env=os.environ | compiler, timeout=300)
    [wheel] = folder.glob("*.whl")
    unpacked = folder / "installed"
    zipfile.ZipFile(wheel).extractall(unpacked)
    return unpacked


def has_kernel(installed: Path) -> bool:
    environ = os.environ | {"PYTHONPATH": str(installed)}
    ran = subprocess.run(
        (sys.executable, "-c", WALKS), check=True, capture_output=True, env=environ, cwd=installed, timeout=60
    )
    return ran.stdout.strip() == b"True"


@pytest.mark.slow
def test_without_a_compiler_the_wheel_walks_in_python(tmp_path: Path) -> None:
    installed = built(tmp_path, {"CC": shutil.which("false") or "false"})
    assert not list(installed.rglob("*.so"))
    assert not has_kernel(installed)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")
def test_with_a_compiler_the_wheel_has_the_kernel(tmp_path: Path) -> None:
    installed = built(tmp_path, {})
    assert {found.name for found in installed.rglob("*.so")} == {"_kernel.abi3.so", "_octets.abi3.so"}
    assert not [*installed.rglob("*.c"), *installed.rglob("*.h")]
    assert has_kernel(installed)
