"""An nginx configuration as a tree, for tests that compare its numbers."""

import re
from collections.abc import Iterator
from typing import Self

_WORD = re.compile(r"""#[^\n]*|"[^"]*"|'[^']*'|[{};]|[^\s{};]+""")
_SIZE = {"k": 1024, "m": 1024 * 1024}
_TIME = {"ms": 1, "s": 1000, "m": 60_000}


class Block:
    """``head``: the words before the brace; ``lines``: directive -> its words, of each time it is there."""

    def __init__(self, head: tuple[str, ...]) -> None:
        self.head = head
        self.lines: dict[str, list[tuple[str, ...]]] = {}
        self.blocks: list[Block] = []

    @classmethod
    def read(cls, text: str) -> Self:
        words = (word for word in _WORD.findall(text) if not word.startswith("#"))
        return cls(
            (),
        )._filled(words)

    def _filled(self, words: Iterator[str]) -> Self:
        line: list[str] = []
        for word in words:
            if word == ";":
                self.lines.setdefault(line[0], []).append(tuple(line[1:]))
                line = []
            elif word == "{":
                self.blocks.append(Block(tuple(line))._filled(words))
                line = []
            elif word == "}":
                break
            else:
                line.append(word)
        return self

    def inner(self, *head: str) -> "Block":
        [found] = [block for block in self.blocks if block.head == head]
        return found

    def words(self, name: str) -> tuple[str, ...]:
        [found] = self.lines[name]
        return found

    def text(self, name: str) -> str:
        [word] = self.words(name)
        return word


def size(text: str) -> int:
    """Bytes."""
    unit = _SIZE.get(text[-1].lower())
    return int(text) if unit is None else int(text[:-1]) * unit


def milliseconds(text: str) -> int:
    number, unit = re.fullmatch(r"([0-9]+)(ms|s|m)", text).groups()  # type: ignore[union-attr]
    return int(number) * _TIME[unit]
