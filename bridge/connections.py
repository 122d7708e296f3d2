"""The queued devices of this node while they are connected, so that they can be sent to other nodes."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from bridge.errors import RequestCode
from bridge.events import Id
from bridge.facts import Happening
from bridge.guest import Guest, Visitor
from bridge.messages import Message
from bridge.ports import Telemetry
from bridge.queued_device import QueuedDevice
from bridge.rooms import Rooms

T = TypeVar("T")
Parting = Callable[[RequestCode, Id | None], T | None]


def _without_a_word(_: RequestCode, __: Id | None) -> None:
    """Say nothing."""


class Connections:
    """The devices of the doors that write by themselves; each lags once ``backlog`` things wait for it."""

    def __init__(self, rooms: Rooms, telemetry: Telemetry, *, backlog: int) -> None:
        self._rooms = rooms
        self._telemetry = telemetry
        self._backlog = backlog
        self._open: set[QueuedDevice[Any]] = set()
        self._closing = False
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def open(
        self,
        visitor: Visitor,
        made: Callable[[Message], T | None],
        *,
        streaming: bool | None,
        cut_off: Callable[[], None],
        parting: Parting[T] = _without_a_word,
        stays: bool = False,
    ) -> Iterator[Guest[QueuedDevice[T]]]:
        """Give the visitor's device, in no room yet, and out of all rooms at the end of the context.

        One that comes while the process goes down is sent away at once. ``parting`` makes the last word where
        the visitor may be in a room no more, or not here at all; one that does not stay goes with its rooms.
        """

        def overflowed() -> None:
            self._telemetry.happened(Happening.CUT_OFF)
            cut_off()

        device = QueuedDevice(
            made,
            user=visitor.admitted.identity.user,
            streaming=streaming,
            backlog=self._backlog,
            caught_up=self._caught_up,
            cut_off=overflowed,
        )

        def ended(code: RequestCode, room_id: Id | None) -> None:
            if room_id is None:
                self._rooms.gone(device)
            else:
                self._rooms.leave(device, room_id)
            if (word := parting(code, room_id)) is not None:
                device.put(word)
            if room_id is None or not (stays or visitor.admitted.rooms):
                device.end()

        visitor.ended = ended
        self._open.add(device)
        if self._closing:
            device.end()
        try:
            yield Guest(device, visitor.admitted)
        finally:
            visitor.ended = None
            self._rooms.gone(device)
            device.end()
            self._open.discard(device)
            self._changed.set()

    async def end_all(self, *, spread_s: float, flush_s: float) -> None:
        """End every connection in the course of ``spread_s``; cut those that take longer than ``flush_s``."""
        for device in (devices := list(self._open)):
            device.end()
            await asyncio.sleep(spread_s / len(devices))
        self._closing = True
        for device in list(self._open):
            device.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(flush_s):
                await self._empty()
        for device in list(self._open):
            device.cut()

    async def _empty(self) -> None:
        while self._open:
            self._changed.clear()
            await self._changed.wait()

    def _caught_up(self, device: QueuedDevice[Any]) -> None:
        self._telemetry.happened(Happening.LAGGED)
        self._rooms.caught_up(device)
