"""The last few names of something: what is older is forgotten. None of them take next to nothing."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

N = TypeVar("N", bound=Hashable)

KEPT = 64
"""So many are kept."""


class Recent(list[N]):
    """Names in the order in which they came; a deque would have room for all of them from the start."""

    __slots__ = ()

    def append(self, name: N) -> None:
        """Add a name behind the others."""
        super().append(name)
        if len(self) > KEPT:
            del self[0]

    def extend(self, names: Iterable[N]) -> None:
        """Add ``names`` in their order."""
        for name in names:
            self.append(name)
