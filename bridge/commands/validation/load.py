"""Rooms full of real clients that ask a running bridge, one question after the other in each room."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bridge.commands.device import Device
from bridge.commands.validation.heard import Heard, Turn
from bridge.events import Id
from bridge.settings import Settings

JOINING_AT_ONCE = 20
SPREAD_S = 1.0
"""In the course of which the rooms begin: people do not press the key in the same millisecond."""
LINGER_S = 0.5
"""So long after the last answer something may still come twice."""
REFUSED_S = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """Who asks how much: ``devices`` in all, spread over ``rooms``; each of ``messages`` asks ``content``.

    An answer that is not there after ``answer_s`` seconds is lost. ``tokens`` go round among the devices.
    """

    rooms: tuple[Id, ...]
    devices: int
    messages: int
    content: str
    tokens: tuple[str, ...]
    answer_s: float

    def devices_of(self, place: int) -> int:
        """Return how many devices the room at ``place`` has."""
        return self.devices // len(self.rooms) + (place < self.devices % len(self.rooms))

    def messages_of(self, place: int) -> int:
        """Return how many questions are asked in the room at ``place``."""
        return self.messages // len(self.rooms) + (place < self.messages % len(self.rooms))


class Room:
    """A room and its devices; they ask in turn."""

    def __init__(self, settings: Settings, load: Load, room_id: Id, tokens: Sequence[str]) -> None:
        self.devices = [
            Device(settings, room_id, partial(self._hear, place), token=token)
            for place, token in enumerate(tokens)
        ]
        self._load = load
        self._heard: dict[str, tuple[Heard, ...]] = {}
        self._changed = asyncio.Event()

    async def ask(self, sender: Device, request_id: str) -> Turn:
        """Send one question and wait until every device has the whole answer, or it is overdue."""
        heard = self._heard[request_id] = tuple(Heard() for _ in self.devices)
        asked = {"content": self._load.content, "requestId": request_id}
        sent_at_s = time.monotonic()
        refused = await sender.send(asked)
        if refused == "no_ack":  # a repeat with the same request id is the same question
            refused = await sender.send(asked)
        if refused:
            await asyncio.sleep(REFUSED_S)
            return Turn(sent_at_s, heard, refused)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._load.answer_s):
                await self._until_done(heard)
        return Turn(sent_at_s, heard)

    async def _until_done(self, heard: tuple[Heard, ...]) -> None:
        while not all(each.done_at_s for each in heard):
            self._changed.clear()
            await self._changed.wait()

    def _hear(self, place: int, name: str, data: dict[str, Any]) -> None:
        heard = self._heard.get(str(data.get("requestId")))
        if heard is None or data.get("role") == "user":
            return
        heard[place].hear(name, data, time.monotonic())
        self._changed.set()


class Rooms:
    """All rooms of a load, joined."""

    def __init__(self, load: Load, rooms: Sequence[Room]) -> None:
        self._load = load
        self._rooms = rooms

    @property
    def reconnects(self) -> int:
        """How often a device has lost its connection and come back."""
        return sum(device.reconnects for room in self._rooms for device in room.devices)

    async def ask(self, name: str, answered: Callable[[], None]) -> list[Turn]:
        """Ask all questions; their request ids begin with ``name``. Tell ``answered`` of each."""
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(self._ask(place, room, name, answered))
                for place, room in enumerate(self._rooms)
            ]
        await asyncio.sleep(LINGER_S)
        return [turn for task in asking for turn in task.result()]

    async def _ask(self, place: int, room: Room, name: str, answered: Callable[[], None]) -> list[Turn]:
        await asyncio.sleep(SPREAD_S * place / len(self._rooms))
        turns = []
        senders = itertools.cycle(room.devices)
        for number in range(self._load.messages_of(place)):
            turns.append(await room.ask(next(senders), f"{name}-{place}-{number}"))
            answered()
        return turns


@contextlib.asynccontextmanager
async def joined(settings: Settings, address: str, load: Load) -> AsyncIterator[Rooms]:
    """Connect every device of ``load`` for as long as the block. Raises `DeviceRefused`."""
    tokens = itertools.cycle(load.tokens or ("",))
    rooms = [
        Room(settings, load, room_id, [next(tokens) for _ in range(load.devices_of(place))])
        for place, room_id in enumerate(load.rooms)
    ]
    devices = [device for room in rooms for device in room.devices]
    try:
        for first in range(0, len(devices), JOINING_AT_ONCE):
            await _join(devices[first : first + JOINING_AT_ONCE], address)
        yield Rooms(load, rooms)
    finally:
        await asyncio.gather(*(device.leave() for device in devices), return_exceptions=True)


async def _join(devices: Sequence[Device], address: str) -> None:
    joining = (device.join(address) for device in devices)
    for fault in await asyncio.gather(*joining, return_exceptions=True):
        if fault is not None:
            raise fault
