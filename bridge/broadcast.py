"""One chunk to many devices: what is needed of each is collected once, until something of them changes.

In a room of a hundred devices nearly all time goes into looking things up, device by device. Here a device is
two bound methods of its transport: is there room, and the write of bytes that are the same for all.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from bridge.messages import MessageChunk


@dataclass(frozen=True, slots=True)
class Way:
    """How a chunk reaches a device at once: ``encode`` makes the bytes, the same for all of its kind.

    ``write`` takes them, or raises RuntimeError: the device is gone, and its room will soon know. Nothing is
    written while ``waiting_bytes`` gives ``lag_bytes`` or more: then the device lags.
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


class Broadcast(Generic[D]):
    """The ways to ``devices`` as they are now; ``others`` are those that have none."""

    def __init__(self, devices: Iterable[D]) -> None:
        self.others: list[D] = []
        kinds: dict[tuple[Callable[[MessageChunk], bytes], int], list[tuple[Way, D]]] = {}
        for device in devices:
            way = device.way
            if way is None:
                self.others.append(device)
            else:
                kinds.setdefault((way.encode, way.lag_bytes), []).append((way, device))
        self._ways = [
            (encode, lag_bytes, [(way.waiting_bytes, way.write, device) for way, device in ways])
            for (encode, lag_bytes), ways in kinds.items()
        ]

    def tell(self, chunk: MessageChunk) -> list[D]:
        """Tell ``chunk`` to all but the `others` and those that lag by now, or are gone; return these."""
        untold = []
        for encode, lag_bytes, ways in self._ways:
            data = encode(chunk)
            for waiting_bytes, write, device in ways:
                if waiting_bytes() >= lag_bytes:
                    untold.append(device)
                    continue
                try:
                    write(data)
                except RuntimeError:  # who is gone must not cost the others this chunk
                    untold.append(device)
        return untold
