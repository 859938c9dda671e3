"""A worker that was asked something by its parent, and has not read it."""

import http.client
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager

ASKED_AT_ONCE = 8


@contextmanager
def with_a_question_unread(port: int, worker: int) -> Iterator[None]:
    """By this worker, which reads it as soon as the block ends."""
    os.kill(worker, signal.SIGSTOP)

    def scrape() -> bool:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            try:
                connection.request("GET", "/metrics")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        asked = {pool.submit(scrape) for _ in range(ASKED_AT_ONCE)}
        answered = False
        # Another one did, for whom the parent asked all of them.
        while not answered:
            assert asked
            done, asked = wait(asked, return_when=FIRST_COMPLETED)
            answered = any(one.result() for one in done)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)
