"""Which tests share a worker of ``pytest -n``."""

from xdist.scheduler import LoadScopeScheduling

LOADED = (
    "tests/demo/test_demo_page.py",
    "tests/demo/test_demo_run.py",
    "tests/faults/test_churn.py",
    "tests/faults/test_redis_troubles.py",
    "tests/faults/test_replacing.py",
    "tests/loadtests/test_check_bites.py",
)
"""Servers under a load of their own: one at a time, or they starve and measure each other."""
SHARING = ("tests/api/", "tests/commands/", "tests/deploy/", "tests/simulation/")
"""Where the tests of a module share what is dear to set up: a server, or a whole run."""


class OneLoadAtATime(LoadScopeScheduling):
    """What is ``LOADED`` on one worker, a module that is ``SHARING`` on one, any other test wherever there
    is room.

    Marks of ``xdist_group`` would say the same, and pytest 9.2 silently ignores them: pytest-xdist 3.8 writes
    them to a name of the test that is no longer read (its issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module in LOADED:
            return "loaded"
        return module if module.startswith(SHARING) else nodeid
