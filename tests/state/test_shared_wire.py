"""One connection: what is asked together is believed together, or not at all."""

import asyncio
from typing import Any

import pytest

from adserver.domain.admission import Away
from adserver.state.shared.wire import Wire

FIRST = [b":1\r\n", b":2\r\n", b"$2\r\ng1\r\n", b"$1\r\n1\r\n"]
SECOND = [b":3\r\n", b"$2\r\ng1\r\n", b"$1\r\n2\r\n"]


class Line(asyncio.Transport):
    """Leads nowhere; what is said at its other end is the test's business."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def abort(self) -> None: ...


def heard(replies: list[bytes], generation: str = "g1") -> tuple[list[Any], list[str]]:
    """What three questions came to, two of them asked together, and why the wire was lost."""
    why = list[str]()

    async def ask() -> list[Any]:
        wire = Wire(2.0, why.append)
        wire.generation = generation
        wire.connection_made(Line())
        asked = [wire.ask([b"INCR", b"a"]), wire.ask([b"INCR", b"a"])]
        await asyncio.sleep(0)
        asked.append(wire.ask([b"INCR", b"a"]))
        await asyncio.sleep(0)
        for reply in replies:
            wire.data_received(reply)
        found = await asyncio.gather(*asked, return_exceptions=True)
        lost = list(why)
        wire.close()
        why[:] = lost
        return found

    return asyncio.run(ask()), why


def test_answers_come_to_who_asked() -> None:
    assert heard([*FIRST, *SECOND]) == ([1, 2, 3], [])


@pytest.mark.parametrize("number", range(len(FIRST)))
def test_where_an_answer_is_lost_no_other_is_taken_for_it(number: int) -> None:
    found, (why,) = heard([*FIRST[:number], *FIRST[number + 1 :], *SECOND])
    assert all(isinstance(one, Away) for one in found)
    assert why == "an answer got lost"


def test_an_answer_too_many_ends_it() -> None:
    found, (why,) = heard([*FIRST, *SECOND, b":4\r\n"])
    assert (found, why) == ([1, 2, 3], "an answer nobody asked for")


@pytest.mark.parametrize("generation", [b"$-1\r\n", b"$2\r\ng2\r\n"])
def test_nothing_is_believed_of_another_generation(generation: bytes) -> None:
    found, (why,) = heard([FIRST[0], FIRST[1], generation, FIRST[3], *SECOND])
    assert all(isinstance(one, Away) for one in found)
    assert "another generation" in why


def test_what_was_believed_before_stays() -> None:
    found, _ = heard([*FIRST, SECOND[0], b"$-1\r\n", SECOND[2]])
    assert found[:2] == [1, 2]
    assert isinstance(found[2], Away)


def test_who_may_not_ask_is_told_so() -> None:
    refused = b"-NOAUTH Authentication required.\r\n"
    _, (why,) = heard([b"-WRONGPASS no\r\n", refused, refused, refused])
    assert why == "WRONGPASS no"


def test_who_has_waited_longest_goes_on_first() -> None:
    """Else all that was asked for within a deadline would be decided before it."""
    order = list[int]()

    async def ask() -> None:
        wire = Wire(2.0, lambda why: None)
        wire.connection_made(Line())
        for number in range(3):
            wire.ask([b"PING"]).add_done_callback(lambda asked, number=number: order.append(number))  # type: ignore[misc]
            if number < 2:
                await asyncio.sleep(0)
        wire.close()
        await asyncio.sleep(0)

    asyncio.run(ask())
    assert order == [0, 1, 2]
