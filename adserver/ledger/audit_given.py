"""Ads that were given away without a record (``decision.UNRECORDED``): house ads without a price or a cap, to
crawlers or while the journal had no room. Their ids say so, and what their events may move is nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adserver.domain.decision import UNRECORDED
from adserver.ledger.audit_books import PROMISED
from adserver.ledger.audit_rows import ID_BYTES, Array, dtype_of


def were_given(ads: Array) -> NDArray[np.bool_]:
    """Which ids say so."""
    raw = np.ascontiguousarray(ads["id"]).view(np.uint8).reshape(-1, ID_BYTES)
    return np.asarray(raw[:, -2] & UNRECORDED >> 8 != 0, np.bool_)


def decided(rows: Array, zones: Sequence[int]) -> Array:
    """What the decisions would have been, of these events; ``zones``: of each version of terms."""
    found = np.zeros(len(rows), dtype_of(PROMISED))
    for name in ("id", "line_item", "creative", "placement", "test", "whence"):
        found[name] = rows[name]
    found["expires"] = rows["at_ms"]
    found["zone"] = [zones[version] for version in rows["terms"].tolist()]
    return found
