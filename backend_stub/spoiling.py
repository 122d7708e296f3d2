"""How a fault changes the bytes that one caller gets, in any wire format."""

from collections.abc import Callable, Iterator
from enum import Enum, auto

from backend_stub.faults import Fault
from backend_stub.pieces import Piece, Text
from backend_stub.wires.base import Frame, Wire

_BOM = b"\xef\xbb\xbf"
_FILLED = "@"  # stands in the place of a huge line's filling
_PIECE_BYTES = 64 * 1024
_HOSTILE = (
    "NaN",
    "9" * 10_000,
    "[" * 100_000 + "]" * 100_000,
    '"\\ud83d"',
)
_BASIC_PLANE = 0xFFFF


class Act(Enum):
    """What is done to a connection other than writing to it."""

    SEVER = auto()
    """Break the connection at once."""
    STALL = auto()
    """Say nothing more but that the connection is alive, until the caller goes away."""


Step = bytes | Act


class Spoiler:
    """Turns the pieces of one call into what is done on its connection."""

    def __init__(self, fault: Fault, wire: Wire) -> None:
        self._fault = fault
        self._wire = wire
        self._spoil = _SPOILS.get(fault.name, _plain)
        self._struck = False
        self._deltas = 0

    def frames(self, piece: Piece) -> list[Frame]:
        """Return the frames of ``piece``."""
        if self._fault.name != "surrogates" or not isinstance(piece, Text):
            return self._wire.frames(piece)
        parts = _halved(piece.text)
        texts = [Text(part, last=number == len(parts)) for number, part in enumerate(parts, 1)]
        return [frame for text in texts for frame in self._wire.frames(text)]

    def steps(self, frame: Frame) -> Iterator[Step]:
        """Yield what is done in the place of ``frame``, in order."""
        here = not self._struck and self._due(frame)
        self._struck = self._struck or here
        self._deltas += frame.kind == "delta"
        return self._spoil(self._wire, self._fault, frame, here)

    def _due(self, frame: Frame) -> bool:
        if self._fault.name == "bom":
            return True
        return self._deltas == self._fault.after and (self._deltas > 0 or frame.kind == "delta")


def _halved(text: str) -> list[str]:
    parts = [""]
    for sign in text:
        if ord(sign) <= _BASIC_PLANE:
            parts[-1] += sign
        else:
            high, low = divmod(ord(sign) - 0x10000, 0x400)
            parts[-1] += chr(0xD800 + high)
            parts.append(chr(0xDC00 + low))
    return parts


def _plain(_: Wire, __: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: ARG001, FBT001 - one shape for all
    yield frame.data


def _cut(_: Wire, __: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: FBT001
    if here:
        yield frame.data[: len(frame.data) // 2]
        yield Act.SEVER
    else:
        yield frame.data


def _bad_utf8(wire: Wire, _: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: FBT001
    mark = wire.text_mark
    yield frame.data.replace(mark, mark + b"\xff\xc3(", 1) if here else frame.data


def _no_end(_: Wire, __: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: ARG001, FBT001
    if frame.kind not in ("closing", "end"):
        yield frame.data


def _after_end(wire: Wire, _: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: ARG001, FBT001
    yield frame.data
    if frame.kind == "end":
        yield wire.late()


def _duplicate(_: Wire, __: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: ARG001, FBT001
    yield frame.data
    if frame.kind == "delta":
        yield frame.data


def _huge_line(wire: Wire, fault: Fault) -> Iterator[Step]:
    head, tail = wire.unknown("data-huge", f'"{_FILLED}"').split(_FILLED.encode())
    rest_bytes = max(0, fault.size_bytes - len(head) - len(tail))
    yield head
    while rest_bytes:
        piece_bytes = min(rest_bytes, _PIECE_BYTES)
        yield b"x" * piece_bytes
        rest_bytes -= piece_bytes
    yield tail


def _hostile(wire: Wire, _: Fault) -> Iterator[Step]:
    for data in _HOSTILE:
        yield wire.unknown("data-hostile", data)
        yield wire.unknown("data-harmless", "0")  # no reader sees several bad ones in a row


def _broken(count: int) -> Callable[[Wire, Fault], Iterator[Step]]:
    return lambda wire, _: (wire.broken() for _ in range(count))


def _before(extra: Callable[[Wire, Fault], Iterator[Step]]) -> "_Spoil":
    def spoil(wire: Wire, fault: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: FBT001
        if here:
            yield from extra(wire, fault)
        yield frame.data

    return spoil


_Spoil = Callable[[Wire, Fault, Frame, bool], Iterator[Step]]
_SPOILS: dict[str, _Spoil] = {
    "cut": _cut,
    "stall": _before(lambda *_: iter((Act.STALL,))),
    "malformed": _before(_broken(1)),
    "malformed-many": _before(_broken(5)),
    "huge": _before(_huge_line),
    "hostile": _before(_hostile),
    "bom": _before(lambda *_: iter((_BOM,))),
    "bad-utf8": _bad_utf8,
    "no-end": _no_end,
    "after-end": _after_end,
    "duplicate": _duplicate,
}
