"""Memory lent to results, and lent again once nobody looks at them."""

from __future__ import annotations

import sys
from collections.abc import Hashable

import numpy as np

_UNUSED = 3
"""References to a buffer that only its lender has: the list's, the loop's and getrefcount's own."""


class Memory:
    """Lends arrays; one is lent again when neither it nor a view of it is left.

    Fresh memory costs more than what is counted into it: the operating system clears every page on its first
    touch. Views hold on to the array they look at, so the number of references tells whether one is in use.
    ``kept``: how many arrays are kept for one name; while all are in use, fresh ones are lent and forgotten.
    """

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._buffers: dict[Hashable, list[np.ndarray]] = {}

    def lend(self, name: Hashable, shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, bool]:
        """An array, and whether it is fresh: full of zeros, not of what its last user left."""
        buffers = self._buffers.setdefault((name, shape, dtype), [])
        for buffer in buffers:
            if sys.getrefcount(buffer) == _UNUSED:
                return buffer[...], False
        buffer = np.zeros(shape, dtype)
        if len(buffers) < self.kept:
            buffers.append(buffer)
        return buffer[...], True
