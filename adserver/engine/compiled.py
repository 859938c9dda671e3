"""The compiled kernel, where there is one; None: the same in Python, beside each call of it."""

from typing import Final

__all__ = ["kernel"]

_CONTRACT: Final = 5
try:
    from adserver.engine import _kernel as kernel

    if getattr(kernel, "CONTRACT", 0) != _CONTRACT:
        # A build of other sources than these, left behind: not one whose answers would mean this.
        kernel = None  # type: ignore[assignment]
except ImportError:
    # Built without a compiler: the same in Python.
    kernel = None  # type: ignore[assignment]
