"""One chunk to many devices: what is needed of each is collected once, until something of them changes.

In a room of a hundred devices nearly all time goes into looking things up, device by device. Here a device is
its transport and nothing else: what is called on it, the write and now and then a look whether there is room,
is the same for all of a kind.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import compress, repeat
from operator import length_hint
from typing import Any, Generic, Protocol, TypeVar

from bridge.messages import MessageChunk

LOOK_EVERY_BYTES = 16 * 1024
"""So much may be written to a device between two looks whether it lags."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a chunk reaches a device at once: ``encode`` makes the bytes, the same for all of its kind.

    ``write`` takes them for the device's ``transport``, or raises RuntimeError: the device is gone, and its
    room will soon know. Once ``waiting_bytes`` of the transport is ``lag_bytes`` or more the device lags, and
    nothing is written: that is looked at before every `LOOK_EVERY_BYTES`. Both are functions of the
    transport's type, not of the transport: who is written to is one object, which the write needs anyway.
    """

    transport: Any
    encode: Callable[[MessageChunk], bytes]
    write: Callable[[Any, bytes], None]
    waiting_bytes: Callable[[Any], int]
    lag_bytes: int

    @property
    def kind(self) -> tuple[Any, ...]:
        """What is equal for all that one call can be made for."""
        return self.encode, self.write, self.waiting_bytes, self.lag_bytes


class Reached(Protocol):
    """A device, as far as it matters here; see `Device`."""

    @property
    def way(self) -> Way | None:
        """See `Device.way`."""
        ...


D = TypeVar("D", bound=Reached)


@dataclass(slots=True)
class _Kind(Generic[D]):
    """Devices that are told the same bytes in the same way, and their transports in the same order.

    ``way`` is that of any of them.
    """

    way: Way
    devices: list[D] = field(default_factory=list)
    transports: list[Any] = field(default_factory=list)
    unlooked_bytes: int = LOOK_EVERY_BYTES

    def add(self, device: D, way: Way) -> None:
        self.devices.append(device)
        self.transports.append(way.transport)

    def tell(self, chunk: MessageChunk, untold: list[D]) -> None:
        """Tell ``chunk`` to those that do not lag and are there; the others are added to ``untold``."""
        data = self.way.encode(chunk)
        self.unlooked_bytes += len(data)
        if self.unlooked_bytes > LOOK_EVERY_BYTES:
            self.unlooked_bytes = len(data)
            self._part_with_lagging(untold)
        left = iter(self.transports)
        while True:
            try:
                deque(map(self.way.write, left, repeat(data)), 0)  # bytecode takes a twentieth longer
            except RuntimeError:  # who is gone must not cost the others this chunk
                untold.append(self.devices[len(self.transports) - length_hint(left) - 1])
            else:
                return

    def _part_with_lagging(self, untold: list[D]) -> None:
        lags = [waiting >= self.way.lag_bytes for waiting in map(self.way.waiting_bytes, self.transports)]
        if any(lags):
            untold += compress(self.devices, lags)
            keep_up = [not each for each in lags]
            self.devices = [*compress(self.devices, keep_up)]
            self.transports = [*compress(self.transports, keep_up)]


class Broadcast(Generic[D]):
    """The ways to ``devices`` as they are now; ``others`` are those that have none."""

    def __init__(self, devices: Iterable[D]) -> None:
        self.others: list[D] = []
        kinds: dict[tuple[Any, ...], _Kind[D]] = {}
        for device in devices:
            way = device.way
            if way is None:
                self.others.append(device)
            elif (kind := kinds.get(way.kind)) is not None:
                kind.add(device, way)
            else:
                kinds[way.kind] = _Kind(way, [device], [way.transport])
        self._kinds = list(kinds.values())

    def tell(self, chunk: MessageChunk) -> list[D]:
        """Tell ``chunk`` to all but the `others` and those that lag by now, or are gone; return these.

        Who is returned may be told nothing more by this object.
        """
        untold: list[D] = []
        for kind in self._kinds:
            kind.tell(chunk, untold)
        return untold
