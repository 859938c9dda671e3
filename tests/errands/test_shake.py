"""Errands between machines, over real sockets: only who knows the key is heard or told anything."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.domain import limits
from adserver.domain.errands import Errand, Happened
from adserver.domain.records import Status
from adserver.domain.verdicts import Passed, Verdict
from adserver.errands import home
from adserver.errands.door import Door, Outside
from adserver.errands.frames import Frames, framed
from adserver.errands.shake import Host, Stranger, Visitor, key_of

KEY = key_of(bytes(32))
OTHER = key_of(bytes([1]) * 32)
Failures = list[Exception]


# -- the shake itself ----------------------------------------------------------------------------------


def shaken(host: Host, visitor: Visitor) -> None:
    answer = visitor.hear(host.greeting)
    assert answer is not None
    assert visitor.hear(host.let_in(answer)) is None


def test_who_knows_the_key_is_let_in_and_knows_where_he_is() -> None:
    shaken(Host(KEY, 5), Visitor(KEY, 5))


@pytest.mark.parametrize("key, number", [(OTHER, 5), (KEY, 6)])
def test_another_key_or_another_door_is_a_strangers(key: bytes, number: int) -> None:
    host = Host(KEY, 5)
    answer = Visitor(key, number).hear(host.greeting)
    assert answer is not None
    with pytest.raises(Stranger):
        host.let_in(answer)


def test_nothing_can_be_said_again_or_turned_round() -> None:
    first, second = Host(KEY, 5), Host(KEY, 5)
    visitor = Visitor(KEY, 5)
    answer = visitor.hear(first.greeting)
    assert answer is not None
    proof = first.let_in(answer)
    with pytest.raises(Stranger):
        second.let_in(answer)
    another = Visitor(KEY, 5)
    another.hear(first.greeting)
    for said in (proof, answer[32:], b""):
        with pytest.raises(Stranger):
            another.hear(said)


@given(st.binary(max_size=96))
def test_no_noise_is_let_in(noise: bytes) -> None:
    with pytest.raises(Stranger):
        Host(KEY, 5).let_in(noise)


# -- doors ---------------------------------------------------------------------------------------------


def errand(token: str) -> Happened:
    return Happened(token, 1, False, "agent", "127.0.0.1", "GET", False, None, False)


def judge(errands: Sequence[Errand]) -> list[Any]:
    return [(Verdict(Status.ACCEPTED, True, one.token), None) for one in errands if isinstance(one, Happened)]


def entrance() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    return listening


@asynccontextmanager
async def opened(
    data: Path, key: bytes = KEY, failures: Failures | None = None, judge: home.Judge = judge
) -> AsyncIterator[int]:
    """The port of worker 5, of a machine with this folder."""
    told = failures if failures is not None else Failures()
    listening = entrance()
    door = Door(data, 5, lambda _, error: told.append(error), Outside(key=key, entrance=listening))
    await door.open(judge)
    try:
        yield listening.getsockname()[1]
    finally:
        await door.shut()
        door.close()


@asynccontextmanager
async def visiting(data: Path, port: int, key: bytes, failures: Failures) -> AsyncIterator[Door]:
    """Worker 0 of another machine, which finds worker 5 at that port."""
    outside = Outside(lambda number: f"127.0.0.1:{port}", key)
    door = Door(data, 0, lambda _, error: failures.append(error), outside)
    try:
        yield door
    finally:
        await door.shut()
        door.close()


def run(act: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(act(), 20)

    asyncio.run(bounded())


def test_errands_go_to_another_machine_and_verdicts_come_back(tmp_path: Path) -> None:
    async def act() -> None:
        async with opened(tmp_path / "b") as port, visiting(tmp_path / "a", port, KEY, []) as door:
            brought = [(Passed(), f"t{number}") for number in range(200)]
            waits = [door.bring(5, errand(token), passed) for passed, token in brought]
            await asyncio.gather(*(wait for wait in waits if wait is not None))
            assert [passed.verdict.location for passed, _ in brought] == [token for _, token in brought]

    run(act)


@pytest.mark.parametrize("mine, theirs", [(OTHER, KEY), (KEY, OTHER)])
def test_machines_of_different_secrets_hear_nothing_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: bytes, theirs: bytes
) -> None:
    monkeypatch.setattr(limits, "PASSED_WAITS_S", 0.5)
    failures = Failures()

    async def act() -> None:
        async with (
            opened(tmp_path / "b", theirs, failures) as port,
            visiting(tmp_path / "a", port, mine, []) as door,
        ):
            passed = Passed("https://shop.example")
            wait = door.bring(5, errand("t"), passed)
            assert wait is not None
            await wait
            assert passed.verdict == Verdict(Status.UNRECORDED, False, "https://shop.example")

    run(act)
    assert failures
    assert all(isinstance(error, Stranger) for error in failures)


async def spoken(port: int, said: bytes) -> bytes:
    """All that comes back until the door is shut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    heard = b""
    while some := await reader.read(65536):
        heard += some
    writer.close()
    return heard


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 4,
        framed(b"x" * 64),
        framed(b"x" * 77),
        framed("no bytes"),
        b"GET / HTTP/1.1\r\n\r\n",
        framed([1, []]),
    ],
)
def test_who_says_anything_else_is_shown_out(tmp_path: Path, said: bytes) -> None:
    failures = Failures()

    async def act() -> None:
        async with opened(tmp_path, failures=failures) as port:
            [greeting] = Frames().received(await spoken(port, said))
            assert len(greeting) == 34

    run(act)
    assert len(failures) == 1


def test_who_says_nothing_is_shown_out_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOOR_SHAKE_S", 0.1)

    async def act() -> None:
        async with opened(tmp_path) as port:
            assert len(await spoken(port, b"\0\0")) == 38

    run(act)


def test_strangers_are_so_many_and_keep_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOOR_STRANGERS", 3)

    async def act() -> None:
        async with opened(tmp_path / "b") as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            assert [len(await reader.readexactly(38)) for reader, _ in idle] == [38] * 3
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(38)
            for _, one in [*idle, (reader, writer)]:
                one.close()
            async with visiting(tmp_path / "a", port, KEY, []) as door:
                passed = Passed()
                wait = door.bring(5, errand("t"), passed)
                assert wait is not None
                await wait
                assert passed.verdict.status is Status.ACCEPTED

    run(act)


def test_a_machine_that_hears_and_never_answers_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to it is not kept for ever, and it is looked for again."""
    monkeypatch.setattr(limits, "PASSED_WAITS_S", 0.1)
    said = list[int]()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = Host(KEY, 5)
        said.append(0)
        writer.write(framed(host.greeting))
        answer = await reader.readexactly(4 + 2 + 64)
        writer.write(framed(host.let_in(answer[6:])))
        while some := await reader.read(65536):
            said[-1] += len(some)
        writer.close()

    async def act() -> None:
        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with visiting(tmp_path, port, KEY, []) as door:
            while len(said) < 2:
                passed = Passed()
                wait = door.bring(5, errand("t"), passed)
                await asyncio.sleep(0.02)
                assert passed.verdict.status is Status.UNRECORDED
            assert said[0] > 0
            assert wait is not None
            await wait
        server.close()

    run(act)
