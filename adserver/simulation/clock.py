"""A clock that stands where it is put."""


class StandingClock:
    """``ms`` since the epoch; given to the server as its clock."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms
