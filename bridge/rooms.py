"""Who is in which room on this node, and what each has heard: join, leave, resume, fan-out.

Every decision here is one synchronous step: a device enters a room, is told what it lacks and hears what
follows, with nothing in between. That is why there is no gap and no repeat, whatever instant it chose.
All devices of a room have heard what this node's transcripts hold, so one repair serves every loss: what a
transcript of the journal holds beyond ours is what they lack.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from bridge.errors import RequestError, StoreUnavailable
from bridge.events import Id
from bridge.messages import Message, MessageChunk, MessageEnd, NewMessage
from bridge.ports import Batch, Device, Inbox, Journal
from bridge.transcript import Applied, Transcript

EARLY_LIMIT = 1024
TEXT = (MessageChunk, MessageEnd, NewMessage)
"""What a turn's text comes in."""
ENDED_TURNS_REMEMBERED = 64
"""How many ended turns of a room a device is known to have heard, so that it is not told twice."""


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
    """What a resume gave: whether the turn was known, and its head."""

    recovered: bool
    seq: int


@dataclass(slots=True)
class _Behind:
    """Where a device that lags is in a turn: behind ``seq``; ``ended`` is the turn once it is over."""

    seq: int
    ended: Transcript | None = None


@dataclass(slots=True)
class _Seat:
    """What a device of a room has heard: which turns to their end, and of which it lacks something."""

    ended: deque[str] = field(default_factory=lambda: deque(maxlen=ENDED_TURNS_REMEMBERED))
    behind: dict[str, _Behind] = field(default_factory=dict)


@dataclass(slots=True)
class _Room:
    seats: dict[Device, _Seat] = field(default_factory=dict)
    running: dict[str, Transcript] = field(default_factory=dict)
    strayed: dict[str, Transcript] = field(default_factory=dict)
    """What the owners say of turns of which other was heard here."""
    held: bool = False
    """True while what other nodes say in this room reaches our inbox."""
    entering: asyncio.Lock = field(default_factory=asyncio.Lock)
    streamed: deque[Id] = field(default_factory=lambda: deque(maxlen=ENDED_TURNS_REMEMBERED))
    """The answers that were heard in chunks and have ended."""
    early: deque[tuple[str, Batch]] = field(default_factory=lambda: deque(maxlen=EARLY_LIMIT))
    """What came between the entry and its answer; what does not fit is mended as any other gap."""

    @property
    def empty(self) -> bool:
        return not self.seats and not self.running

    def running_as(self, message_id: Id) -> Transcript | None:
        return next((t for t in self.running.values() if t.message_id == message_id), None)


def hears(device: Device, message: Message) -> bool:
    """Return whether ``message`` is for ``device``, by what it said at connect."""
    if isinstance(message, NewMessage):
        return not (message.streamed and device.streaming is True)
    return device.streaming is not False


class Rooms:
    """The rooms of this node."""

    def __init__(self, journal: Journal, inbox: Inbox) -> None:
        self._journal = journal
        self._inbox = inbox
        self._rooms: dict[Id, _Room] = {}
        self._joined: dict[Device, set[Id]] = {}

    def __repr__(self) -> str:
        running = sum(len(room.running) for room in self._rooms.values())
        return f"<Rooms {len(self._rooms)} rooms, {len(self._joined)} devices, {running} running turns>"

    @property
    def devices(self) -> int:
        """How many devices are in a room."""
        return len(self._joined)

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
        running = room and room.running_as(message_id)
        return bool(room and ((running and running.seq) or message_id in room.streamed))

    def check_joined(self, device: Device, room_id: Id) -> None:
        """Raise `RequestError` unless ``device`` is in the room."""
        if room_id not in self._joined.get(device, ()):
            raise RequestError("not_joined", "unable to act in the room; the device has not joined it")

    async def join(self, device: Device, room_id: Id, resume: Mapping[str, int]) -> Joined:
        """Let ``device`` in and tell it what it lacks; ``resume`` is the last seq it has of each message.

        A device that is in already is told only what it names in ``resume``.
        """
        ended = await self._ended_turns(room_id, resume)
        room = await self._entered(room_id)
        newcomer = device not in room.seats
        seat = room.seats.setdefault(device, _Seat())
        self._joined.setdefault(device, set()).add(room_id)
        lost = [message_id for message_id, found in ended.items() if found is None]
        for message_id, found in ended.items():
            if found is not None:
                self._replay(device, seat, found, resume[message_id])
        for running in room.running.values():
            named = str(running.message_id)
            if newcomer or named in resume:
                self._replay(device, seat, running, resume.get(named))
        return Joined(self._active(room), [m for m in lost if room.running_as(m) is None])

    def leave(self, device: Device, room_id: Id) -> None:
        """Let ``device`` out of the room; to leave a room it is not in is no error."""
        self._joined.get(device, set()).discard(room_id)
        room = self._rooms.get(room_id)
        if room is not None:
            room.seats.pop(device, None)

    def gone(self, device: Device) -> None:
        """Let ``device`` out of all rooms; its turns go on."""
        for room_id in self._joined.pop(device, set()):
            self._rooms[room_id].seats.pop(device, None)

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

    def holds(self, room_id: Id) -> bool:
        """Return whether what other nodes say in the room reaches us; else `sweep` or a join reads it."""
        room = self._rooms.get(room_id)
        return room is not None and room.held

    def lose_hold(self) -> None:
        """Know that other nodes may have said what did not reach us; `sweep` mends it."""
        for room in self._rooms.values():
            room.held = False

    async def _forget(self, room_id: Id, room: _Room) -> None:
        if room.held:
            await self._inbox.leave(room_id)
            room.held = False
        if room.empty:
            self._rooms.pop(room_id, None)

    async def _entered(self, room_id: Id) -> _Room:
        room = self._rooms.setdefault(room_id, _Room())
        while not room.held or self._rooms.get(room_id) is not room:
            room = self._rooms.setdefault(room_id, _Room())
            try:
                await self._enter(room_id, room)
            except StoreUnavailable:
                break  # its own devices hear; the sweep enters it once the store is back
        return self._rooms.setdefault(room_id, room)

    async def _enter(self, room_id: Id, room: _Room) -> None:
        async with room.entering:
            if room.held or self._rooms.get(room_id) is not room:
                return
            try:
                for transcript in await self._inbox.enter(room_id):
                    self.catch_up(room_id, transcript)
                room.held = True
            finally:
                early = list(room.early)
                room.early.clear()
            for turn_id, batch in early:
                self.hear_turn(turn_id, room_id, batch)

    async def resume(self, device: Device, room_id: Id, message_id: Id, seq: int) -> Resumed:
        """Tell ``device`` what it lacks of one message behind ``seq``."""
        self.check_joined(device, room_id)
        transcript = self._rooms[room_id].running_as(message_id) or await self._kept(room_id, message_id)
        seat = self._rooms[room_id].seats.get(device)
        if transcript is None or seat is None:
            return Resumed(recovered=False, seq=0)
        self._replay(device, seat, transcript, seq)
        return Resumed(recovered=True, seq=transcript.seq)

    async def attach(self, device: Device, room_id: Id, turn_id: str) -> None:
        """Tell ``device`` a turn from its start, unless it has heard it as a member of the room.

        A running turn was told to every member when it joined, so only an ended one can be lacking.
        """
        room = self._rooms[room_id]
        if turn_id in room.running or turn_id in room.seats[device].ended:
            return
        transcript = await self._journal.read(turn_id)
        seat = room.seats.get(device)
        if transcript is not None and transcript.ended and seat is not None:
            self._replay(device, seat, transcript, None)

    async def tell(self, room_id: Id, messages: Sequence[Message]) -> None:
        """Tell every device of the room, on every node, ``messages`` that belong to no turn."""
        self.hear(room_id, messages)
        with contextlib.suppress(StoreUnavailable):
            await self._inbox.tell(room_id, messages)

    def hear(self, room_id: Id, messages: Sequence[Message]) -> None:
        """Tell every device here ``messages`` that belong to no turn, such as a user's own."""
        room = self._rooms.get(room_id)
        if room is not None:
            self._fan_out(room.seats, messages)

    def hear_turn(self, turn_id: str, room_id: Id, batch: Batch) -> Applied:
        """Tell every device here what a turn says next, and keep it for those that join meanwhile.

        GAP: something before it is missing; nothing was told.
        """
        room = self._rooms.setdefault(room_id, _Room())
        transcript = room.running.get(turn_id)
        if transcript is None:
            if any(turn_id in seat.ended for seat in room.seats.values()):
                return Applied.DUPLICATE  # it has ended here
            transcript = Transcript(turn_id, _request_id(batch))
        if turn_id in room.strayed:
            return self._hear_owner(room, room.strayed[turn_id], batch)
        heard_seq = transcript.heard_seq
        applied = transcript.take(batch.number, batch.messages)
        if applied is Applied.APPLIED:
            room.running[turn_id] = transcript
            self._tell_turn(room, turn_id, heard_seq, batch.messages)
            if batch.ended:
                self._end_turn(room, turn_id)
        return applied

    def hear_letter(self, turn_id: str, room_id: Id, batch: Batch) -> Applied:
        """Take what another node's turn says; see `hear_turn`. A room that is not held is not minded."""
        room = self._rooms.get(room_id)
        if room is None:
            return Applied.DUPLICATE
        if not room.held:
            room.early.append((turn_id, batch))
            return Applied.DUPLICATE
        return self.hear_turn(turn_id, room_id, batch)

    def catch_up(self, room_id: Id, kept: Transcript) -> None:
        """Tell every device here what ``kept`` holds beyond this node's own copy of the turn."""
        room = self._rooms.setdefault(room_id, _Room())
        ours = room.running.get(kept.turn_id)
        if kept.turn_id in room.strayed:
            self._rejoin(room, kept)
            return
        if ours is not None and ours.number >= kept.number:
            return
        if ours is None and any(kept.turn_id in seat.ended for seat in room.seats.values()):
            return
        heard_seq = ours.heard_seq if ours is not None else None
        room.running[kept.turn_id] = kept
        self._tell_turn(room, kept.turn_id, heard_seq, kept.since(heard_seq))
        if kept.ended:
            self._end_turn(room, kept.turn_id)

    def stray(self, turn_id: str, room_id: Id) -> None:
        """Know that what was heard here of a running turn is not what its owner says.

        That is so where this node owned it, was cut off from the journal, and spoke on to its devices. They
        hear nothing of it until the owner has said all that they heard; then they go on with the owner.
        """
        room = self._rooms.get(room_id)
        if room is not None and (ours := room.running.get(turn_id)) is not None:
            room.strayed[turn_id] = Transcript(turn_id, ours.request_id)

    def _hear_owner(self, room: _Room, theirs: Transcript, batch: Batch) -> Applied:
        applied = theirs.take(batch.number, batch.messages)
        if applied is Applied.APPLIED:
            self._rejoin(room, theirs)
        return applied

    def _rejoin(self, room: _Room, theirs: Transcript) -> None:
        """Let the devices go on with the owner, if they can by now."""
        ours = room.running[theirs.turn_id]
        lacking = ours.rejoin(theirs)
        if lacking is None:
            room.strayed[theirs.turn_id] = theirs
            return
        room.strayed.pop(theirs.turn_id, None)
        room.running[theirs.turn_id] = theirs
        self._tell_turn(room, theirs.turn_id, ours.heard_seq, lacking)
        if theirs.ended:
            self._end_turn(room, theirs.turn_id)

    def running(self, turn_id: str, room_id: Id) -> Transcript | None:
        """Return this node's copy of a running turn."""
        room = self._rooms.get(room_id)
        return room.running.get(turn_id) if room is not None else None

    def caught_up(self, device: Device) -> None:
        """Tell ``device``, which lags no more, what it lacks: one chunk of each turn, and its end."""
        for room_id in self._joined.get(device, ()):
            room = self._rooms[room_id]
            seat = room.seats[device]
            behind, seat.behind = seat.behind, {}
            for turn_id, where in behind.items():
                transcript = where.ended or room.running.get(turn_id)
                if transcript is not None:
                    self._replay(device, seat, transcript, where.seq)

    def _end_turn(self, room: _Room, turn_id: str) -> None:
        ended = room.running.pop(turn_id)
        if ended.seq and ended.message_id is not None:
            room.streamed.append(ended.message_id)
        for seat in room.seats.values():
            seat.ended.append(turn_id)
            if turn_id in seat.behind:
                seat.behind[turn_id].ended = ended

    def _tell_turn(
        self, room: _Room, turn_id: str, heard_seq: int | None, messages: Sequence[Message]
    ) -> None:
        """Tell every device here what a turn says behind ``heard_seq``; who lags, only what is no text."""
        for device, seat in room.seats.items():
            if seat.behind or device.lagging:
                seat.behind.setdefault(turn_id, _Behind(heard_seq or 0))
                self._fan_out((device,), [each for each in messages if not isinstance(each, TEXT)])
            else:
                for message in messages:
                    if hears(device, message):
                        device.hear(message)

    def _fan_out(self, devices: Iterable[Device], messages: Sequence[Message]) -> None:
        for message in messages:
            for device in devices:
                if hears(device, message):
                    device.hear(message)

    def _replay(self, device: Device, seat: _Seat, transcript: Transcript, seq: int | None) -> None:
        self._fan_out((device,), transcript.since(seq))
        if transcript.ended:
            seat.ended.append(transcript.turn_id)
            seat.behind.pop(transcript.turn_id, None)
        elif transcript.turn_id in seat.behind:
            seat.behind[transcript.turn_id].seq = transcript.seq

    def _active(self, room: _Room) -> list[ActiveTurn]:
        return [
            ActiveTurn(turn.request_id, turn.message_id, turn.seq)
            for turn in room.running.values()
            if turn.message_id is not None
        ]

    async def _ended_turns(self, room_id: Id, resume: Mapping[str, int]) -> dict[str, Transcript | None]:
        room = self._rooms.get(room_id, _Room())
        named = [message_id for message_id in resume if room.running_as(message_id) is None]
        return {message_id: await self._kept(room_id, message_id) for message_id in named}

    async def _kept(self, room_id: Id, message_id: Id) -> Transcript | None:
        turn_id = await self._journal.find(room_id, message_id=message_id)
        return await self._journal.read(turn_id) if turn_id is not None else None


def _request_id(batch: Batch) -> Id:
    return batch.messages[0].request_id if batch.messages else ""
