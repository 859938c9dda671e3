"""Even pacing: a line item may have spent by now what an even rate would have spent by now.

The throttle compares what is billed and held with the plan to date, so a burst of requests cannot run
ahead and an outage is caught up with as traffic allows. Integer arithmetic, no state of its own. A
controller over a learned traffic shape replaces the straight line later.
"""


def plan_to_date(total: int, start_ms: int, end_ms: int, now_ms: int) -> int:
    """What ``total``, spread evenly over [start, end), amounts to by now; 0 before, ``total`` after."""
    if now_ms >= end_ms or end_ms <= start_ms:
        return total
    return total * max(0, now_ms - start_ms) // (end_ms - start_ms)


def reached_ms(total: int, start_ms: int, end_ms: int, done: int) -> int:
    """The first instant at which the plan to date is at least ``done``: the end at the latest."""
    if total <= 0 or done >= total:
        return end_ms
    return start_ms + -(-done * (end_ms - start_ms) // total)
