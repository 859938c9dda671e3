"""Texts with ``*`` in them.

Greedy from the left: what stands before the first ``*`` must begin the text, what stands behind the last
must end it, and each piece between is taken at its first occurrence behind the piece before. Taking the
first leaves the most for the rest, so nothing is ever tried twice: linear in text and pattern, whatever
they are, where a backtracking regular expression can take exponential time.
"""


def matches(pieces: tuple[str, ...] | list[str], text: str, least: int = 0) -> bool:
    """Whether ``text`` is the pattern that was split at its ``*`` into ``pieces``, each ``*`` standing for
    ``least`` characters or more."""
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return text == first
    if not text.startswith(first):
        return False
    place = len(first)
    for piece in pieces[1:-1]:
        found = text.find(piece, place + least)
        if found < 0:
            return False
        place = found + len(piece)
    return len(text) - len(last) >= place + least and text.endswith(last)
