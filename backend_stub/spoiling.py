"""How a fault changes the bytes that one caller gets."""

from collections.abc import Callable, Iterator
from enum import Enum, auto

from backend_stub.faults import Fault
from backend_stub.frames import Frame, record

_BROKEN = b'data: {"type":"text-delta","id":"text-1","delta":\n\n'
_BOM = b"\xef\xbb\xbf"
_LATE = record({"type": "text-delta", "id": "text-1", "delta": " too late"})
_HUGE_HEAD = b'data: {"type":"data-huge","data":"'
_HUGE_TAIL = b'"}\n\n'
_PIECE_BYTES = 64 * 1024


class Act(Enum):
    """What is done to a connection other than writing to it."""

    SEVER = auto()
    """Break the connection at once."""
    STALL = auto()
    """Say nothing more but comments until the caller goes away."""


Step = bytes | Act


class Spoiler:
    """Turns the frames of one call into what is done on its connection."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._spoil = _SPOILS.get(fault.name, _plain)
        self._struck = False
        self._deltas = 0

    def steps(self, frame: Frame) -> Iterator[Step]:
        """Yield what is done in the place of ``frame``, in order."""
        here = not self._struck and self._due(frame)
        self._struck = self._struck or here
        self._deltas += frame.kind == "text-delta"
        return self._spoil(self._fault, frame, here)

    def _due(self, frame: Frame) -> bool:
        if self._fault.name == "bom":
            return True
        return self._deltas == self._fault.after and (self._deltas > 0 or frame.kind == "text-delta")


def _plain(_: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: ARG001, FBT001 - one shape for all
    yield frame.data


def _cut(_: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: FBT001
    if here:
        yield frame.data[: len(frame.data) // 2]
        yield Act.SEVER
    else:
        yield frame.data


def _bad_utf8(_: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: FBT001
    yield frame.data.replace(b'"delta":"', b'"delta":"\xff\xc3(', 1) if here else frame.data


def _no_end(_: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: ARG001, FBT001
    if frame.kind not in ("finish", "abort", "done"):
        yield frame.data


def _after_end(_: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: ARG001, FBT001
    yield frame.data
    if frame.kind in ("finish", "abort", "done"):
        yield _LATE


def _duplicate(_: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: ARG001, FBT001
    yield frame.data
    if frame.kind == "text-delta":
        yield frame.data


def _huge_line(size_bytes: int) -> Iterator[Step]:
    rest_bytes = max(0, size_bytes - len(_HUGE_HEAD) - len(_HUGE_TAIL))
    yield _HUGE_HEAD
    while rest_bytes:
        piece_bytes = min(rest_bytes, _PIECE_BYTES)
        yield b"x" * piece_bytes
        rest_bytes -= piece_bytes
    yield _HUGE_TAIL


def _before(extra: Callable[[Fault], Iterator[Step]]) -> "_Spoil":
    def spoil(fault: Fault, frame: Frame, here: bool) -> Iterator[Step]:  # noqa: FBT001
        if here:
            yield from extra(fault)
        yield frame.data

    return spoil


_Spoil = Callable[[Fault, Frame, bool], Iterator[Step]]
_SPOILS: dict[str, _Spoil] = {
    "cut": _cut,
    "stall": _before(lambda _: iter((Act.STALL,))),
    "malformed": _before(lambda _: iter((_BROKEN,))),
    "malformed-many": _before(lambda _: iter((_BROKEN,) * 5)),
    "huge": _before(lambda fault: _huge_line(fault.size_bytes)),
    "bom": _before(lambda _: iter((_BOM,))),
    "bad-utf8": _bad_utf8,
    "no-end": _no_end,
    "after-end": _after_end,
    "duplicate": _duplicate,
}
