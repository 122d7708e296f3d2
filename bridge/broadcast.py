"""One chunk to many devices: what is needed of each is collected once, until something of them changes.

In a room of a hundred devices nearly all time goes into looking things up, device by device. Here a device is
two bound methods of its transport: the write of bytes that are the same for all, and, now and then, a look
whether there is room.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
_Written = tuple[Callable[[bytes], None], Callable[[], int], D]


@dataclass(slots=True)
class _Kind(Generic[D]):
    """Devices that are told the same bytes."""

    encode: Callable[[MessageChunk], bytes]
    lag_bytes: int
    ways: list[_Written[D]]
    unlooked_bytes: int = LOOK_EVERY_BYTES

    def with_room(self, untold: list[D]) -> list[_Written[D]]:
        """Return the ways to those that do not lag; the others are added to ``untold``."""
        lagging = [device for _, waiting_bytes, device in self.ways if waiting_bytes() >= self.lag_bytes]
        untold += lagging
        return [way for way in self.ways if way[2] not in lagging] if lagging else self.ways


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
                kind = kinds.setdefault((way.encode, way.lag_bytes), _Kind(way.encode, way.lag_bytes, []))
                kind.ways.append((way.write, way.waiting_bytes, device))
        self._kinds = list(kinds.values())

    def tell(self, chunk: MessageChunk) -> list[D]:
        """Tell ``chunk`` to all but the `others` and those that lag by now, or are gone; return these."""
        untold: list[D] = []
        for kind in self._kinds:
            data = kind.encode(chunk)
            ways = kind.ways
            kind.unlooked_bytes += len(data)
            if kind.unlooked_bytes > LOOK_EVERY_BYTES:
                kind.unlooked_bytes = len(data)
                ways = kind.with_room(untold)
            for write, _, device in ways:
                try:
                    write(data)
                except RuntimeError:  # who is gone must not cost the others this chunk
                    untold.append(device)
        return untold
