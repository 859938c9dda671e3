"""``adserver demo``: the whole of it on the sample world, to look at. See ``play``."""

from adserver.demo.play import run

__all__ = ["run"]
