"""The compiled part of reading questions, writing answers and keeping touches (``_octets.c``), if there was a
compiler.

``compiled`` is None without one: whoever uses it has the same in Python, which is fallback and oracle.
"""

from typing import Final

__all__ = ["compiled"]

_CONTRACT: Final = 10
try:
    from adserver import _octets as compiled

    if getattr(compiled, "CONTRACT", 0) != _CONTRACT:
        # A build of other sources than these, left behind: not one whose answers would mean this.
        compiled = None  # type: ignore[assignment]
except ImportError:
    compiled = None  # type: ignore[assignment]
