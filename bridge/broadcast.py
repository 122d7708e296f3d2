"""One chunk to many devices: what is needed of each is collected once, until something of them changes.

In a room of a hundred devices nearly all time goes into looking things up, device by device. Here a device is
two bound methods of its transport: the write of bytes that are the same for all, and, now and then, a look
whether there is room.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import compress, repeat
from operator import call, length_hint
from typing import Generic, Protocol, TypeVar

from bridge.messages import MessageChunk

LOOK_EVERY_BYTES = 16 * 1024
"""So much may be written to a device between two looks whether it lags."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a chunk reaches a device at once: ``encode`` makes the bytes, the same for all of its kind.

    ``write`` takes them, or raises RuntimeError: the device is gone, and its room will soon know. Once
    ``waiting_bytes`` gives ``lag_bytes`` or more the device lags, and nothing is written: that is looked at
    before every `LOOK_EVERY_BYTES`.
    """

    encode: Callable[[MessageChunk], bytes]
    write: Callable[[bytes], None]
    waiting_bytes: Callable[[], int]
    lag_bytes: int


class Reached(Protocol):
    """A device, as far as it matters here; see `Device`."""

    @property
    def way(self) -> Way | None:
        """See `Device.way`."""
        ...


D = TypeVar("D", bound=Reached)


@dataclass(slots=True)
class _Kind(Generic[D]):
    """Devices that are told the same bytes, and their ways in the same order."""

    encode: Callable[[MessageChunk], bytes]
    lag_bytes: int
    devices: list[D] = field(default_factory=list)
    writes: list[Callable[[bytes], None]] = field(default_factory=list)
    waiting_bytes: list[Callable[[], int]] = field(default_factory=list)
    unlooked_bytes: int = LOOK_EVERY_BYTES

    def add(self, device: D, way: Way) -> None:
        self.devices.append(device)
        self.writes.append(way.write)
        self.waiting_bytes.append(way.waiting_bytes)

    def tell(self, chunk: MessageChunk, untold: list[D]) -> None:
        """Tell ``chunk`` to those that do not lag and are there; the others are added to ``untold``."""
        data = self.encode(chunk)
        self.unlooked_bytes += len(data)
        if self.unlooked_bytes > LOOK_EVERY_BYTES:
            self.unlooked_bytes = len(data)
            self._part_with_lagging(untold)
        left = iter(self.writes)
        while True:
            try:
                deque(map(call, left, repeat(data)), 0)  # a loop of bytecode takes a twentieth longer
            except RuntimeError:  # who is gone must not cost the others this chunk
                untold.append(self.devices[len(self.writes) - length_hint(left) - 1])
            else:
                return

    def _part_with_lagging(self, untold: list[D]) -> None:
        lags = [waiting_bytes() >= self.lag_bytes for waiting_bytes in self.waiting_bytes]
        if any(lags):
            untold += compress(self.devices, lags)
            keep_up = [not each for each in lags]
            self.devices = [*compress(self.devices, keep_up)]
            self.writes = [*compress(self.writes, keep_up)]
            self.waiting_bytes = [*compress(self.waiting_bytes, keep_up)]


class Broadcast(Generic[D]):
    """The ways to ``devices`` as they are now; ``others`` are those that have none."""

    def __init__(self, devices: Iterable[D]) -> None:
        self.others: list[D] = []
        kinds: dict[tuple[Callable[[MessageChunk], bytes], int], _Kind[D]] = {}
        for device in devices:
            way = device.way
            if way is None:
                self.others.append(device)
            else:
                kinds.setdefault((way.encode, way.lag_bytes), _Kind(way.encode, way.lag_bytes)).add(
                    device, way
                )
        self._kinds = list(kinds.values())

    def tell(self, chunk: MessageChunk) -> list[D]:
        """Tell ``chunk`` to all but the `others` and those that lag by now, or are gone; return these.

        Who is returned may be told nothing more by this object.
        """
        untold: list[D] = []
        for kind in self._kinds:
            kind.tell(chunk, untold)
        return untold
