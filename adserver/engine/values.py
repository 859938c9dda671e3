"""Values of targeting as numbers, while a catalogue is compiled.

A number is given when a value first turns up and stays with the compiler, so that what was made of an
unchanged line item is still right when another one changed. In the image values stand by their hashes.
"""

from array import array

from adserver.engine.names import hash_of


class Numbers(dict[str, int]):
    """Value -> number, within a dimension; a new value gets the next one."""

    __slots__ = ("_number", "_values")

    def __init__(self, values: "Values", number: int) -> None:
        self._values = values
        self._number = number

    def __missing__(self, value: str) -> int:
        number = self[value] = self._values.add(self._number, value)
        return number


class Values:
    """``names``, ``hashes`` and ``dimension_of`` by number; ``dimensions`` by theirs. ``asked``: names of
    expressions, with numbers of their own."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.hashes = array("I")
        self.dimension_of = array("H")
        self.dimensions: list[str] = []
        self.asked: dict[tuple[str, ...], int] = {}
        self._numbers: dict[str, Numbers] = {}

    def __len__(self) -> int:
        return len(self.names)

    def of(self, dimension: str) -> Numbers:
        found = self._numbers.get(dimension)
        if found is None:
            found = self._numbers[dimension] = Numbers(self, len(self.dimensions))
            self.dimensions.append(dimension)
        return found

    def add(self, dimension: int, value: str) -> int:
        name = f"{self.dimensions[dimension]}\0{value}".encode()
        self.names.append(name)
        self.hashes.append(hash_of(name))
        self.dimension_of.append(dimension)
        return len(self.names) - 1
