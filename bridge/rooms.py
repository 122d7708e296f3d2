"""The rooms of this node: who joins, leaves and resumes, and which of them this node holds in the cluster.

Every decision here is one synchronous step: a device enters a room, is told what it lacks and hears what
follows, with nothing in between. That is why there is no gap and no repeat, whatever instant it chose.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass

from bridge.errors import RequestError, StoreUnavailable
from bridge.events import Id
from bridge.letters import Batch
from bridge.ports import Device, Inbox, Journal
from bridge.room import Room
from bridge.transcript import Applied, Transcript

EARLY_LIMIT = 1024
LOOKS = 3
"""So often the journal is asked for what a device resumes: it may end while it is read."""


@dataclass(frozen=True, slots=True)
class ActiveTurn:
    """A running turn as the ack of a join names it."""

    request_id: Id
    message_id: Id
    seq: int


@dataclass(frozen=True, slots=True)
class Joined:
    """What a join found: the running turns, and those to be resumed that nobody knows any more."""

    active: list[ActiveTurn]
    lost: list[Id]


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a resume gave: whether the turn was known, its head, and whether it tells of a gap.

    ``gap``: the device had been told as it grew what it asks for now. It is said once of a turn.
    """

    recovered: bool
    seq: int
    gap: bool = False


class _Held(Room):
    """A room, and whether what other nodes say in it reaches our inbox."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self.entering = asyncio.Lock()
        self.early: list[tuple[str, Batch]] = []
        """What came between the entry and its answer; what does not fit is mended as any other gap."""


class Rooms:
    """The rooms of this node."""

    def __init__(self, journal: Journal, inbox: Inbox) -> None:
        self._journal = journal
        self._inbox = inbox
        self._rooms: defaultdict[Id, _Held] = defaultdict(_Held)
        self._joined: dict[Device, set[Id]] = {}

    def __repr__(self) -> str:
        running = sum(len(room.running) for room in self._rooms.values())
        return f"<Rooms {len(self._rooms)} rooms, {len(self._joined)} devices, {running} running turns>"

    @property
    def devices(self) -> int:
        """How many devices are in a room."""
        return len(self._joined)

    @property
    def named(self) -> AbstractSet[Id]:
        """The rooms that devices are in, or were until they are swept."""
        return self._rooms.keys()

    def members(self, room_id: object) -> Iterable[Device]:
        """Return the devices of a room on this node."""
        room = self._rooms.get(room_id)  # type: ignore[call-overload]  # who asks may name anything
        return room.seats if room is not None else ()

    def joined(self, device: Device) -> AbstractSet[Id]:
        """Return the rooms that ``device`` is in."""
        return self._joined.get(device, frozenset())

    def streamed(self, room_id: object, message_id: object) -> bool:
        """Return whether the devices here heard an answer, or hear it, in chunks."""
        room = self._rooms.get(room_id)  # type: ignore[call-overload]
        return room is not None and room.streamed(message_id)

    def check_joined(self, device: Device, room_id: Id) -> None:
        """Raise `RequestError` unless ``device`` is in the room."""
        if room_id not in self._joined.get(device, ()):
            raise RequestError("not_joined", "unable to act in the room; the device has not joined it")

    async def join(self, device: Device, room_id: Id, resume: Mapping[str, int]) -> Joined:
        """Let ``device`` in and tell it what it lacks; ``resume`` is the last seq it has of each message.

        A device that is in already is told only what it names in ``resume``.
        """
        room = await self._entered(room_id)  # from here on, what a turn says reaches this node
        kept: dict[str, Transcript | None] = {}
        for _ in range(LOOKS):
            unknown = [
                m
                for m, seq in resume.items()
                if room.lacks(m, seq) and (m not in kept or room.outran(kept[m]))
            ]
            if not unknown:
                break
            kept |= {message_id: await self._kept(room_id, message_id) for message_id in unknown}
            room = await self._entered(room_id)  # with nobody seated yet it may have been left again
        for found in kept.values():
            if found is not None and (not found.ended or found.turn_id in room.running):
                self.catch_up(room_id, found)
        newcomer = device not in room.seats
        room.seat(device)
        self._joined.setdefault(device, set()).add(room_id)
        lost = [message_id for message_id, found in kept.items() if found is None]
        for message_id, found in kept.items():
            if found is not None and found.turn_id not in room.running:
                room.replay(device, found, resume[message_id])
        for running in room.running.values():
            named = str(running.message_id)
            if newcomer or named in resume:
                room.replay(device, running, resume.get(named))
        return Joined(self._active(room), [m for m in lost if room.running_as(m) is None])

    def leave(self, device: Device, room_id: Id) -> None:
        """Let ``device`` out of the room; to leave a room it is not in is no error."""
        joined = self._joined.get(device, set())
        joined.discard(room_id)
        if not joined:
            self._joined.pop(device, None)
        room = self._rooms.get(room_id)
        if room is not None:
            room.unseat(device)

    def gone(self, device: Device) -> None:
        """Let ``device`` out of all rooms; its turns go on."""
        for room_id in self._joined.pop(device, set()):
            self._rooms[room_id].unseat(device)

    async def sweep(self) -> None:
        """Leave rooms that nobody is in, and enter again those that we do not hold.

        Raises `StoreUnavailable`.
        """
        for room_id, room in list(self._rooms.items()):
            if room.empty:
                async with room.entering:
                    await self._forget(room_id, room)
            elif not room.held:
                await self._enter(room_id, room)

    def all_running(self) -> list[tuple[Id, Transcript]]:
        """Return this node's copies of all running turns, each with its room."""
        return [(room_id, turn) for room_id, room in self._rooms.items() for turn in room.running.values()]

    @property
    def still(self) -> bool:
        """True while no room hears a turn, of whichever node."""
        return not any(room.running for room in self._rooms.values())

    def holds(self, room_id: Id) -> bool:
        """Return whether what other nodes say in the room reaches us; else `sweep` or a join reads it."""
        room = self._rooms.get(room_id)
        return room is not None and room.held

    @property
    def all_held(self) -> bool:
        """Whether what other nodes say reaches us in every room; else `sweep` is wanted at once."""
        return all(room.held for room in self._rooms.values())

    def lose_hold(self) -> None:
        """Know that other nodes may have said what did not reach us; `sweep` mends it."""
        for room in self._rooms.values():
            room.held = False

    async def _forget(self, room_id: Id, room: _Held) -> None:
        room.held = False  # who joins meanwhile waits, and enters it anew
        await self._inbox.leave(room_id)
        if room.empty:
            self._rooms.pop(room_id, None)

    async def _entered(self, room_id: Id) -> _Held:
        room = self._rooms[room_id]
        while not room.held or self._rooms.get(room_id) is not room:
            room = self._rooms[room_id]
            try:
                await self._enter(room_id, room)
            except StoreUnavailable:
                break  # its own devices hear; the sweep enters it once the store is back
        return self._rooms.setdefault(room_id, room)

    async def _enter(self, room_id: Id, room: _Held) -> None:
        async with room.entering:
            if room.held or self._rooms.get(room_id) is not room:
                return
            try:
                for transcript in await self._running_now(room_id, room):
                    self.catch_up(room_id, transcript)
                room.held = True
            finally:
                early, room.early = room.early, []
            for turn_id, batch in early:
                self.hear_turn(turn_id, room_id, batch)

    async def _running_now(self, room_id: Id, room: _Held) -> list[Transcript]:
        """Enter; return the running turns, and those that ended while this node did not hear the room."""
        entered = await self._inbox.enter(room_id)
        known = {transcript.turn_id for transcript in entered.running}
        others = {*room.running, *room.ended_unheard(entered.ended)} - known
        kept = [await self._journal.read(turn_id) for turn_id in others]
        return entered.running + [transcript for transcript in kept if transcript is not None]

    async def resume(self, device: Device, room_id: Id, message_id: Id, seq: int) -> Resumed:
        """Tell ``device`` what it lacks of one message behind ``seq``."""
        self.check_joined(device, room_id)
        room = self._rooms[room_id]
        transcript = room.running_as(message_id) or await self._kept(room_id, message_id)
        if transcript is None or device not in room.seats:
            return Resumed(recovered=False, seq=0)
        gap = room.tells_of_gap(device, transcript, seq)
        room.replay(device, transcript, seq)
        return Resumed(recovered=True, seq=transcript.seq, gap=gap)

    async def attach(self, device: Device, room_id: Id, turn_id: str) -> None:
        """Tell ``device`` a turn from its start, unless it has heard it as a member of the room.

        A running turn was told to every member when it joined, so only an ended one can be lacking.
        """
        room = self._rooms[room_id]
        if room.tells_by_itself(device, turn_id):
            return
        transcript = room.unkept.get(turn_id) or await self._journal.read(turn_id)
        if transcript is None or not transcript.ended or device not in room.seats:
            return
        if not room.tells_by_itself(device, turn_id):  # what other nodes said may have come meanwhile
            room.replay(device, transcript, None)

    def hear_turn(self, turn_id: str, room_id: Id, batch: Batch) -> Applied:
        """Tell every device here what a turn says next, and keep it for those that join meanwhile.

        GAP: something before it is missing; nothing was told.
        """
        return self._rooms[room_id].hear_turn(turn_id, batch)

    def hear_letter(self, turn_id: str, room_id: Id, batch: Batch) -> Applied:
        """Take what another node's turn says; see `hear_turn`. A room that is not held is not minded."""
        room = self._rooms.get(room_id)
        if room is None:
            return Applied.DUPLICATE
        if not room.held:
            if len(room.early) < EARLY_LIMIT:
                room.early.append((turn_id, batch))
            return Applied.DUPLICATE
        return room.hear_turn(turn_id, batch)

    def catch_up(self, room_id: Id, kept: Transcript) -> None:
        """Tell every device here what ``kept`` holds beyond this node's own copy of the turn."""
        self._rooms[room_id].catch_up(kept)

    @contextmanager
    def unkept(self, room_id: Id, turn: Transcript) -> Iterator[None]:
        """Let who resumes ``turn``, which has ended here, find it here as long as the journal lags behind."""
        unkept = self._rooms[room_id].unkept
        unkept[turn.turn_id] = turn
        try:
            yield
        finally:
            del unkept[turn.turn_id]

    def stray(self, turn_id: str, room_id: Id) -> None:
        """Know that what was heard here of a running turn is not what its owner says; see `Room.stray`."""
        room = self._rooms.get(room_id)
        if room is not None:
            room.stray(turn_id)

    def has_ended(self, turn_id: str, room_id: Id) -> bool:
        """Return whether devices here heard a turn to its end."""
        room = self._rooms.get(room_id)
        return room is not None and room.heard_to_its_end(turn_id)

    def running(self, turn_id: str, room_id: Id) -> Transcript | None:
        """Return this node's copy of a running turn."""
        room = self._rooms.get(room_id)
        return room.running.get(turn_id) if room is not None else None

    def caught_up(self, device: Device) -> None:
        """Tell ``device``, which lags no more, what it lacks: one chunk of each turn, and its end."""
        for room_id in self._joined.get(device, ()):
            self._rooms[room_id].caught_up(device)

    def _active(self, room: _Held) -> list[ActiveTurn]:
        return [
            ActiveTurn(turn.request_id, turn.message_id, turn.seq)
            for turn in room.running.values()
            if turn.message_id is not None
        ]

    async def _kept(self, room_id: Id, message_id: Id) -> Transcript | None:
        """Return what is known of a turn that does not run here."""
        here = self._rooms[room_id].unkept_as(message_id)
        if here is not None:
            return here
        turn_id = await self._journal.find(room_id, message_id=message_id)
        return await self._journal.read(turn_id) if turn_id is not None else None
