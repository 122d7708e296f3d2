"""One chunk to many devices: what is needed of each is collected once, until something of them changes.

In a room of a hundred devices nearly all time goes into looking things up, device by device. Here a device is
its line and nothing else: what is written to one is written to all of a kind in one go.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from bridge.messages import MessageChunk


class Burst(Protocol):
    """Lines that are written the same bytes."""

    def add(self, line: Any) -> None:
        """Let one more have what is written."""
        ...

    def write(self, data: bytes) -> Sequence[int]:
        """Write to all but those that lag or are gone; return the places of these, as they were added."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """How a chunk reaches a device at once: as bytes that ``encode`` makes, the same for all of its kind.

    ``burst`` begins a burst, to which ``line`` may be added. A device that lags, or is gone, is written
    nothing there; of one that is gone its room will soon know.
    """

    line: Any
    encode: Callable[[MessageChunk], bytes]
    burst: Callable[[], Burst]

    @property
    def kind(self) -> tuple[Any, ...]:
        """What is equal for all that one burst can be made for."""
        return self.encode, self.burst


class Reached(Protocol):
    """A device, as far as it matters here; see `Device`."""

    @property
    def way(self) -> Way | None:
        """See `Device.way`."""
        ...


D = TypeVar("D", bound=Reached)


@dataclass(slots=True)
class _Kind(Generic[D]):
    """Devices that are told the same bytes in the same burst, in the same order."""

    encode: Callable[[MessageChunk], bytes]
    burst: Burst
    devices: list[D] = field(default_factory=list)


class Broadcast(Generic[D]):
    """The ways to ``devices`` as they are now; ``others`` are those that have none."""

    def __init__(self, devices: Iterable[D]) -> None:
        self.others: list[D] = []
        kinds: dict[tuple[Any, ...], _Kind[D]] = {}
        for device in devices:
            way = device.way
            if way is None:
                self.others.append(device)
                continue
            kind = kinds.get(way.kind)
            if kind is None:
                kind = kinds[way.kind] = _Kind(way.encode, way.burst())
            kind.devices.append(device)
            kind.burst.add(way.line)
        self._kinds = list(kinds.values())

    def tell(self, chunk: MessageChunk) -> list[D]:
        """Tell ``chunk`` to all but the `others` and those that lag by now, or are gone; return these.

        Once any is returned this object is of no more use: they have it to be told otherwise.
        """
        untold: list[D] = []
        for kind in self._kinds:
            untold += [kind.devices[place] for place in kind.burst.write(kind.encode(chunk))]
        return untold
