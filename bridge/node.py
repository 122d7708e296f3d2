"""Keeps this node's place among the others: reads its inbox, says that it lives, takes over from the dead."""

import asyncio
from typing import assert_never

from bridge.errors import BridgeError, StoreUnavailable
from bridge.events import Id
from bridge.ports import Anew, Clock, Inbox, Journal, Letter, Lost, Said, StopWanted, Telemetry, Told
from bridge.relay import Relay
from bridge.rooms import Rooms
from bridge.transcript import Applied

BEATS_PER_LEASE = 4
DEAF_S = 3.0
"""After so long without an answer of the store a node is not ready for new devices."""


class Node:
    """One process among several; ``lease_s`` is how long a turn stays ours without a word of us."""

    def __init__(
        self,
        *,
        journal: Journal,
        inbox: Inbox,
        relay: Relay,
        rooms: Rooms,
        telemetry: Telemetry,
        clock: Clock,
        lease_s: float,
    ) -> None:
        self._journal = journal
        self._inbox = inbox
        self._relay = relay
        self._rooms = rooms
        self._telemetry = telemetry
        self._clock = clock
        self._beat_s = lease_s / BEATS_PER_LEASE
        self._beaten_at_s = clock.monotonic_s()

    @property
    def alive(self) -> bool:
        """True while the store answers: this node hears what others say, and they hear it."""
        return self._clock.monotonic_s() - self._beaten_at_s < DEAF_S

    async def run(self) -> None:
        """Do so until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="inbox")
            group.create_task(self._live(), name="heartbeat")

    async def _listen(self) -> None:
        async for letter in self._inbox.letters():
            try:
                await self._take(letter)
            except StoreUnavailable as error:
                self._telemetry.fault(error)
                self._rooms.lose_hold()

    async def _take(self, letter: Letter) -> None:
        match letter:
            case Said(turn_id, room_id, batch):
                if self._rooms.hear_letter(turn_id, room_id, batch) is Applied.GAP:
                    await self._mend(turn_id, room_id)
            case Anew(turn_id, room_id):
                if self._rooms.holds(room_id):
                    await self._mend(turn_id, room_id)
            case Told(room_id, messages):
                self._rooms.hear(room_id, messages)
            case StopWanted(turn_id):
                self._relay.stop_wanted(turn_id)
            case Lost():
                self._rooms.lose_hold()
                await self._rooms.sweep()
            case _:
                assert_never(letter)

    async def _mend(self, turn_id: str, room_id: Id) -> None:
        kept = await self._journal.read(turn_id)
        if kept is not None:
            self._rooms.catch_up(room_id, kept)

    async def _live(self) -> None:
        while True:
            try:
                await self._beat()
            except BridgeError as error:
                self._telemetry.fault(error)
            await asyncio.sleep(self._beat_s * (0.75 + 0.5 * self._clock.jitter()))

    async def _beat(self) -> None:
        if not await self._inbox.beat():
            self._rooms.lose_hold()
        self._beaten_at_s = self._clock.monotonic_s()
        if owned := self._relay.owned:
            await self._journal.renew(owned)
        await self._rooms.sweep()
        if not self._relay.draining:
            for taken in await self._journal.overdue():
                self._relay.take_over(taken)
