"""One room on this node: its devices, what each has heard, and this node's copies of its running turns.

All devices of a room have heard what its transcripts hold; who lags, up to a seq that is known. So one repair
serves every loss: what a transcript holds beyond that is what they lack. Each step is synchronous.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bridge.broadcast import Broadcast
from bridge.events import Id
from bridge.letters import Batch
from bridge.messages import Message, MessageChunk, MessageEnd, NewMessage, is_asked
from bridge.ports import Device
from bridge.recent import Recent
from bridge.transcript import Applied, Transcript

TEXT = (MessageChunk, MessageEnd, NewMessage)
"""What a turn's text comes in."""


@dataclass(slots=True)
class _Behind:
    """Where a device that lags is in a turn: behind ``seq``; ``ended`` is the turn once it is over."""

    seq: int
    ended: Transcript | None = None


@dataclass(slots=True)
class Seat:
    """What a device of a room has heard: which turns to their end, and of which it lacks something."""

    ended: Recent[str] = field(default_factory=Recent)
    behind: dict[str, _Behind] = field(default_factory=dict)
    replayed: Recent[str] = field(default_factory=Recent)
    """Turns of which it was told a part again, or late."""


def hears(device: Device, message: Message) -> bool:
    """Return whether ``message`` is for ``device``, by what it said at connect."""
    if isinstance(message, NewMessage):
        return not (message.streamed and device.streaming is True)
    return device.streaming is not False


def tell(devices: Iterable[Device], messages: Sequence[Message]) -> None:
    """Tell each of ``devices`` those of ``messages`` that are for it."""
    for message in messages:
        for device in devices:
            if hears(device, message):
                device.hear(message)


class Room:
    """The devices of a room and its running turns."""

    def __init__(self) -> None:
        self.seats: dict[Device, Seat] = {}
        self._broadcast: Broadcast[Device] | None = None
        self.running: dict[str, Transcript] = {}
        self.unkept: dict[str, Transcript] = {}
        """What ended here, and the journal does not hold to its end yet."""
        self._strayed: dict[str, Transcript] = {}
        self._streamed: Recent[Id] = Recent()
        self._ended: Recent[str] = Recent()
        """What ended for the devices that were here, or before any was."""
        self._ahead: Recent[str] = Recent()
        """What ended for some devices, told from the journal, and may not have for the others."""
        self._gaps: Recent[str] = Recent()

    def __repr__(self) -> str:
        return f"<Room {len(self.seats)} devices, {len(self.running)} running turns>"

    @property
    def empty(self) -> bool:
        """True when nobody is in it, nothing runs in it, and nothing of it is known here alone."""
        return not (self.seats or self.running or self.unkept)

    def seat(self, device: Device) -> None:
        """Let ``device`` in; one that is in keeps its seat."""
        self.seats.setdefault(device, Seat())
        self._broadcast = None

    def unseat(self, device: Device) -> None:
        """Let ``device`` out, if it is in."""
        self.seats.pop(device, None)
        self._broadcast = None

    def running_as(self, message_id: object) -> Transcript | None:
        """Return the running turn whose answer has that name."""
        return next((t for t in self.running.values() if t.message_id == message_id), None)

    def lacks(self, message_id: str, seq: int) -> bool:
        """Return whether no running turn here has that name, or it has not come to ``seq`` here."""
        running = self.running_as(message_id)
        return running is None or running.seq < seq

    def unkept_as(self, message_id: object) -> Transcript | None:
        """Return the turn of `unkept` whose answer has that name."""
        return next((t for t in self.unkept.values() if t.message_id == message_id), None)

    def outran(self, kept: Transcript | None) -> bool:
        """Return whether a turn has ended here, and ``kept``, what was read of it, does not know that."""
        return kept is not None and not kept.ended and self.heard_to_its_end(kept.turn_id)

    def streamed(self, message_id: object) -> bool:
        """Return whether an answer was heard, or is heard, in chunks."""
        running = self.running_as(message_id)
        return bool(running and running.seq) or message_id in self._streamed

    def tells_by_itself(self, device: Device, turn_id: str) -> bool:
        """Return whether ``device``, a member, hears a turn as it runs, or has heard it."""
        return turn_id in self.running or turn_id in self.seats[device].ended

    def heard_to_its_end(self, turn_id: str) -> bool:
        """Return whether a turn has ended for a device here."""
        return turn_id in self._ended or turn_id in self._ahead

    def ended_unheard(self, turn_ids: Iterable[str]) -> list[str]:
        """Return those of ``turn_ids``, which have ended, of which devices here may lack something."""
        unheard = [turn_id for turn_id in turn_ids if turn_id not in self._ended]
        if self.seats:
            return unheard
        self._ended.extend(unheard)  # who comes now has them from the history
        return []

    def hear_turn(self, turn_id: str, batch: Batch) -> Applied:
        """Tell every device what a turn says next, and keep it; on a GAP nothing is told."""
        transcript = self.running.get(turn_id)
        if transcript is None:
            if turn_id in self._ended:
                return Applied.DUPLICATE
            transcript = Transcript(turn_id, _request_id(batch))
        if turn_id in self._strayed:
            return self._hear_owner(self._strayed[turn_id], batch)
        heard_seq = transcript.heard_seq
        applied = transcript.take(batch.number, batch.messages)
        if applied is Applied.APPLIED:
            self.running[turn_id] = transcript
            self._tell_turn(transcript, heard_seq, batch.messages, ended=batch.ended)
        return applied

    def catch_up(self, kept: Transcript) -> None:
        """Tell every device what ``kept`` holds beyond the copy of the turn that is here."""
        ours = self.running.get(kept.turn_id)
        if kept.turn_id in self._strayed:
            self._rejoin(kept)
        elif ours is None and kept.turn_id in self._ended:
            pass
        elif ours is None or ours.number < kept.number:
            heard_seq = ours.heard_seq if ours is not None else None
            self.running[kept.turn_id] = kept
            asked = kept.asked if ours is None else []
            self._tell_turn(kept, heard_seq, asked + kept.since(heard_seq), ended=kept.ended)

    def stray(self, turn_id: str) -> None:
        """Know that what was heard here of a running turn is not what its owner says.

        That is so where this node owned it, was cut off from the journal, and spoke on to its devices. They
        hear nothing of it until the owner has said all that they heard; then they go on with the owner.
        """
        ours = self.running.get(turn_id)
        if ours is not None:
            self._strayed[turn_id] = Transcript(turn_id, ours.request_id)

    def caught_up(self, device: Device) -> None:
        """Tell ``device``, which lags no more, what it lacks: one chunk of each turn, and its end."""
        seat = self.seats[device]
        behind, seat.behind = seat.behind, {}
        self._broadcast = None
        for turn_id, where in behind.items():
            transcript = where.ended or self.running.get(turn_id)
            if transcript is not None:
                self.replay(device, transcript, where.seq)

    def replay(self, device: Device, transcript: Transcript, seq: int | None) -> None:
        """Tell ``device`` what it lacks of a turn behind ``seq``; None: it has not heard the start."""
        seat = self.seats[device]
        seat.replayed.append(transcript.turn_id)
        tell((device,), transcript.since(seq))
        if transcript.ended:
            seat.ended.append(transcript.turn_id)
            if transcript.turn_id not in self._ended:
                self._ahead.append(transcript.turn_id)
            seat.behind.pop(transcript.turn_id, None)
        elif transcript.turn_id in seat.behind:
            seat.behind[transcript.turn_id].seq = transcript.seq

    def tells_of_gap(self, device: Device, transcript: Transcript, seq: int) -> bool:
        """Return whether ``device``, which has ``seq``, lacks what it was told of a turn as it grew.

        Who came late, came back or lagged has been told again: what it asks for shows no gap. A turn has one
        gap at most, whoever tells of it.
        """
        seat, turn_id = self.seats[device], transcript.turn_id
        told = turn_id in seat.ended or (turn_id in self.running and turn_id not in seat.behind)
        if not told or turn_id in seat.replayed or turn_id in self._gaps or seq >= transcript.seq:
            return False
        self._gaps.append(turn_id)
        return device.streaming is not False

    def _hear_owner(self, theirs: Transcript, batch: Batch) -> Applied:
        applied = theirs.take(batch.number, batch.messages)
        if applied is Applied.APPLIED:
            self._rejoin(theirs)
        return applied

    def _rejoin(self, theirs: Transcript) -> None:
        """Let the devices go on with the owner, if they can by now."""
        ours = self.running[theirs.turn_id]
        lacking = ours.rejoin(theirs)
        if lacking is None:
            self._strayed[theirs.turn_id] = theirs
            return
        self._strayed.pop(theirs.turn_id, None)
        self.running[theirs.turn_id] = theirs
        self._tell_turn(theirs, ours.heard_seq, lacking, ended=theirs.ended)

    def _tell_turn(
        self, turn: Transcript, heard_seq: int | None, messages: Sequence[Message], *, ended: bool
    ) -> None:
        """Tell every device what ``turn`` says behind ``heard_seq``; who lags, only what is no text."""
        knowing = turn.turn_id in self._ahead
        alone = messages[0] if len(messages) == 1 else None
        if isinstance(alone, MessageChunk) and alone.seq > 1 and not knowing:
            devices: Iterable[Device] = self._written(alone)
        else:
            devices = self.seats
        keep_up = []
        for device in devices:
            seat = self.seats[device]
            if knowing and turn.turn_id in seat.ended:
                continue
            if seat.behind or device.lagging:
                self._broadcast = None  # from here on it is told one by one
                seat.behind.setdefault(turn.turn_id, _Behind(heard_seq or 0))
                tell((device,), [each for each in messages if is_asked(each) or not isinstance(each, TEXT)])
            else:
                keep_up.append(device)
        if keep_up:
            tell(keep_up, messages)
        if ended:
            self._end_turn(turn)

    def _written(self, chunk: MessageChunk) -> list[Device]:
        """Write ``chunk`` to the devices that have a way; return those that have none, lag, or are gone."""
        if self._broadcast is None:
            keep_up = [device for device, seat in self.seats.items() if not seat.behind]
            self._broadcast = Broadcast(device for device in keep_up if device.streaming is not False)
            self._broadcast.others += [device for device, seat in self.seats.items() if seat.behind]
        untold = self._broadcast.tell(chunk)
        others = self._broadcast.others
        if untold or (others and any(device.way for device in others)):
            self._broadcast = None
        return [*others, *untold]

    def _end_turn(self, turn: Transcript) -> None:
        del self.running[turn.turn_id]
        self._ended.append(turn.turn_id)
        if turn.seq and turn.message_id is not None:
            self._streamed.append(turn.message_id)
        for seat in self.seats.values():
            seat.ended.append(turn.turn_id)
            if turn.turn_id in seat.behind:
                seat.behind[turn.turn_id].ended = turn


def _request_id(batch: Batch) -> Id:
    return batch.messages[0].request_id if batch.messages else ""
