"""Values of targeting as numbers, while a catalogue is compiled.

A number is given when a value first turns up and stays with the compiler, so that what was made of an
unchanged line item is still right when another one changed. In the image values stand by their hashes.
"""

from array import array

from adserver.engine.names import hash_of


def name_of(dimension: str, value: str) -> bytes:
    """As it stands in a table of names."""
    return f"{dimension}\0{value}".encode()


class Numbers(dict[str, int]):
    """Value -> number, within a dimension; a new value gets the next one."""

    __slots__ = ("_dimension", "_known")

    def __init__(self, known: "Known", dimension: str) -> None:
        self._known = known
        self._dimension = dimension

    def __missing__(self, value: str) -> int:
        number = self[value] = self._known[name_of(self._dimension, value)]
        return number


class Known(dict[bytes, int]):
    """Name (the dimension's, a zero, the value) -> number; a new name gets the next one."""

    __slots__ = ("_values",)

    def __init__(self, values: "Values") -> None:
        self._values = values

    def __missing__(self, name: bytes) -> int:
        number = self[name] = self._values.add(name)
        return number


class Values:
    """``names``, ``hashes`` and ``dimension_of`` by number; ``dimensions`` by theirs; ``numbers`` by name.
    ``asked``: names of expressions, with numbers of their own."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.hashes = array("I")
        self.dimension_of = array("H")
        self.dimensions: dict[str, int] = {}
        self.numbers = Known(self)
        self.asked: dict[tuple[str, ...], int] = {}
        self._of: dict[str, Numbers] = {}

    def __len__(self) -> int:
        return len(self.names)

    def of(self, dimension: str) -> Numbers:
        found = self._of.get(dimension)
        if found is None:
            found = self._of[dimension] = Numbers(self.numbers, dimension)
        return found

    def add(self, name: bytes) -> int:
        dimension = name.partition(b"\0")[0].decode()
        self.names.append(name)
        self.hashes.append(hash_of(name))
        self.dimension_of.append(self.dimensions.setdefault(dimension, len(self.dimensions)))
        return len(self.names) - 1

    def asked_number(self, name: tuple[str, ...]) -> int:
        return self.asked.setdefault(name, len(self.asked))
