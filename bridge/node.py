"""Keeps this node's place among the others: reads its inbox, says that it lives, takes over from the dead."""

import asyncio
from typing import assert_never

from bridge.errors import TurnInterrupted
from bridge.events import Id
from bridge.facts import Happening
from bridge.letters import Anew, Batch, Letter, Lost, Ordered, Said, StopWanted
from bridge.ports import Clock, Inbox, Journal, Sockets, Telemetry
from bridge.relay import Relay
from bridge.rooms import Rooms
from bridge.transcript import Applied, Transcript

BEAT_S, BEATS_PER_LEASE = 0.4, 5
"""Heartbeats are so far apart, closer where leases are short; each a fifth earlier or later.

So what a dead owner leaves is seen half a second after its lease at the latest, and a living one has time to
renew its own when a beat is lost. Each wakes a process up twice, though nothing else may be to do.
"""
ROUND_S = 1.0
"""So far apart every room and turn is looked at: with each beat it was a fifth of what 1 000 rooms cost."""
DEAF_S = 3.0
"""After so long without an answer of the store a node is not ready for new devices."""


class Node:
    """One process among several; ``lease_s`` is how long a turn stays ours without a word of us.

    After ``silent_s`` without a word of a turn of another node this one looks whether it still is there.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        inbox: Inbox,
        relay: Relay,
        rooms: Rooms,
        sockets: Sockets,
        telemetry: Telemetry,
        clock: Clock,
        lease_s: float,
        silent_s: float,
    ) -> None:
        self._journal = journal
        self._inbox = inbox
        self._relay = relay
        self._rooms = rooms
        self._sockets = sockets
        self._telemetry = telemetry
        self._clock = clock
        self._beat_s = min(BEAT_S, lease_s / BEATS_PER_LEASE)
        self._silent_s = silent_s
        self._lost = False
        self._progress: dict[str, tuple[int, float]] = {}
        """How far each turn of other nodes was when it last went on, and when that was."""
        self._round_at_s = float("-inf")
        self._beaten_at_s = clock.monotonic_s()

    @property
    def alive(self) -> bool:
        """True while the store answers: this node hears what others say, and they hear it."""
        return self._clock.monotonic_s() - self._beaten_at_s < DEAF_S

    @property
    def hears(self) -> bool:
        """True while what is sent to this node arrives: its own heartbeat comes back to it."""
        return self._inbox.silent_s() < DEAF_S

    async def run(self) -> None:
        """Do so until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="inbox")
            group.create_task(self._live(), name="heartbeat")

    async def _listen(self) -> None:
        async for letter in self._inbox.letters():
            try:
                if not (isinstance(letter, Said) and self._hear(letter)):  # nearly all end in this one step
                    await self._take(letter)
            except Exception as fault:  # noqa: BLE001  (one bad letter must not make the node deaf)
                self._telemetry.fault(fault)
                self._rooms.lose_hold()

    def _hear(self, said: Said) -> bool:
        """Let the room hear what a turn of another node said; False where something before it is missing."""
        self._relay.heard_of(said.turn_id, said.batch.number)
        return self._rooms.hear_letter(said.turn_id, said.room_id, said.batch) is not Applied.GAP

    async def _take(self, letter: Letter) -> None:
        """Do what a letter asks for; something before what it says is missing, where it is a `Said`."""
        match letter:
            case Said(turn_id, room_id):
                self._telemetry.happened(Happening.GAP_REPAIRED)
                await self._mend(turn_id, room_id)
            case Anew(turn_id, room_id):
                if self._rooms.holds(room_id) and turn_id not in self._relay.owned:
                    await self._mend(turn_id, room_id)
            case StopWanted(turn_id):
                self._relay.stop_wanted(turn_id)
            case Ordered(sender, order):
                self._sockets.obey(sender, order)
            case Lost():
                self._telemetry.happened(Happening.LETTERS_LOST)
                self._lose_hold()
                await self._mend_loss()
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
            except Exception as fault:  # noqa: BLE001  (a node that beats no more is dead to the others)
                self._telemetry.fault(fault)
            pause_s = self._beat_s * (0.8 + 0.4 * self._clock.jitter())
            due_s = self._clock.monotonic_s() + pause_s
            await asyncio.sleep(pause_s)
            self._telemetry.beaten(max(0.0, self._clock.monotonic_s() - due_s))

    async def _beat(self) -> None:
        if not await self._inbox.beat():
            self._lose_hold()
        self._beaten_at_s = self._clock.monotonic_s()
        if owned := self._relay.owned:
            await self._journal.renew(owned)
        await self._mend_loss()
        await self._look_round()
        if not self._relay.draining:
            for taken in await self._journal.overdue():
                self._relay.take_over(taken)

    async def _look_round(self) -> None:
        """Look at every room and every turn, where it is time to, or a room does not reach us."""
        now_s = self._clock.monotonic_s()
        if not self._rooms.all_held or now_s >= self._round_at_s:
            await self._rooms.sweep()
            await self._mend_silent()
            self._round_at_s = now_s + ROUND_S

    def _lose_hold(self) -> None:
        self._rooms.lose_hold()
        self._lost = True

    async def _mend_loss(self) -> None:
        if self._lost:
            await self._relay.keep_again()
            self._lost = False

    async def _mend_silent(self) -> None:
        """Read anew what was silent for long; end what the journal knows no more: its owner is gone too."""
        for room_id, turn in self._silent():
            kept = await self._journal.read(turn.turn_id)
            if kept is not None:
                self._rooms.catch_up(room_id, kept)
            else:
                lost = TurnInterrupted("unable to finish the answer; the node that had it is gone")
                end = Batch(turn.number + 1, turn.broken_off(lost), ended=True)
                self._rooms.hear_turn(turn.turn_id, room_id, end)

    def _silent(self) -> list[tuple[Id, Transcript]]:
        now_s, before, owned = self._clock.monotonic_s(), self._progress, self._relay.owned
        self._progress, silent = {}, []
        for room_id, turn in self._rooms.all_running():
            number, since_s = before.get(turn.turn_id, (turn.number, now_s))
            if number != turn.number or turn.turn_id in owned:
                since_s = now_s
            elif now_s - since_s > self._silent_s:
                silent.append((room_id, turn))
                since_s = now_s
            self._progress[turn.turn_id] = (turn.number, since_s)
        return silent
