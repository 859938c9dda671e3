"""What is counted of asking the store."""

from typing import Final, Protocol


class Meter(Protocol):
    def took(self, seconds: float) -> None:
        """From a question to its answer."""
        ...

    def missed(self, whose: str) -> None:
        """A deadline: the ``server``'s or the ``request``'s."""
        ...

    def again(self, because: str) -> None:
        """A decision was not to be, and is made once more: ``guessed``, ``moved`` or ``away``."""
        ...


class _Uncounted:
    def took(self, seconds: float) -> None: ...
    def missed(self, whose: str) -> None: ...
    def again(self, because: str) -> None: ...


UNCOUNTED: Final[Meter] = _Uncounted()
"""Where nobody asks."""
