"""What a check found: how much was looked at, and everything that was wrong."""

from msgspec import Struct, field


class Findings(Struct):
    """``checked``: what -> how many, in order of mention; a zero among ``needed`` means that the check
    looked at nothing, which is no success either."""

    law: str
    checked: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    needed: tuple[str, ...] = ()

    def count(self, what: str, by: int = 1) -> None:
        self.checked[what] = self.checked.get(what, 0) + by

    def expect(self, holds: bool, message: str) -> None:
        if not holds:
            self.violations.append(message)

    @property
    def empty(self) -> list[str]:
        """What was needed and not found."""
        return [what for what in self.needed if not self.checked.get(what)]

    @property
    def holds(self) -> bool:
        return not self.violations and not self.empty
