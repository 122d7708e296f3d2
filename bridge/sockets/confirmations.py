"""Asks some devices whether they got what they were told: an ack of the first chunk and of the end.

No client has to do anything for it, and none is blamed for what it never did: python-socketio acks by
itself, socket.io-client where a handler calls its last argument. A device that has confirmed once is known
to; from then on an ack that does not come in time is missing. One that never did is left alone soon.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.facts import Happening
from bridge.messages import Message, MessageChunk, MessageEnd
from bridge.ports import Telemetry
from bridge.sockets.device import SocketDevice

TRIES = 4
"""So often in a row a device is asked in vain; so none can make much look lost."""
WAITING_LIMIT = 10_000
"""So many acks of a process are waited for; beyond it nobody is asked."""


LOOK_S = 1.0


class AckNumbers(Protocol):
    """Gives numbers to acks, as python-socketio's client manager does."""

    def __call__(self, sid: str, callback: Callable[..., None]) -> int:
        """Return a number; ``callback`` is called when the client acks it."""
        ...


@dataclass(slots=True)
class _Habit:
    """What is known of a device: how often it was asked since it confirmed, and whether it ever did."""

    tries: int = 0
    confirms: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    sid: str
    event: str
    at_s: float


class Confirmations:
    """The acks that are waited for, of the devices of one process.

    ``share`` (0 to 1) of the devices are asked, chosen by ``chance`` when they connect. ``confirmed`` is told
    of each ack: for which of ``first_chunk`` and ``end`` it came, and after how many seconds.
    """

    def __init__(
        self,
        numbers: AckNumbers,
        telemetry: Telemetry,
        confirmed: Callable[[str, float], None],
        *,
        now: Callable[[], float],
        chance: Callable[[], float],
        share: float,
        within_s: float,
    ) -> None:
        self._numbers = numbers
        self._telemetry = telemetry
        self._confirmed = confirmed
        self._now = now
        self._chance = chance
        self._share = share
        self._within_s = within_s
        self._habits: dict[str, _Habit] = {}
        self._waiting: OrderedDict[int, _Asked] = OrderedDict()
        self._asked = 0

    def __repr__(self) -> str:
        return f"<Confirmations of {len(self._habits)} devices, {len(self._waiting)} awaited>"

    def chosen(self, sid: str) -> bool:
        """Return whether a device that connects now is one of those that are asked."""
        if self._share <= self._chance():
            return False
        self._habits[sid] = _Habit()
        return True

    def gone(self, sid: str) -> None:
        """Forget a device; what it has not confirmed yet is not missing: it is gone."""
        self._habits.pop(sid, None)

    def number_for(self, sid: str, message: Message) -> int | None:
        """Return the number to send along with ``message``, None where nothing is to be confirmed."""
        event = _event(message)
        habit = self._habits.get(sid)
        if event is None or habit is None or len(self._waiting) >= WAITING_LIMIT:
            return None
        if habit.tries >= TRIES:
            return None
        habit.tries += 1
        self._asked += 1
        key = self._asked
        self._waiting[key] = _Asked(sid, event, self._now())
        return self._numbers(sid, lambda *_: self._take(key))

    async def run(self) -> None:
        """Look for what is missing, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.sweep()

    def sweep(self) -> None:
        """Count what did not come in time."""
        late_s = self._now() - self._within_s
        while self._waiting and next(iter(self._waiting.values())).at_s < late_s:
            _, asked = self._waiting.popitem(last=False)
            habit = self._habits.get(asked.sid)
            if habit is not None and habit.confirms:
                self._telemetry.happened(Happening.UNCONFIRMED)

    def _take(self, key: int) -> None:
        asked = self._waiting.pop(key, None)
        habit = self._habits.get(asked.sid) if asked is not None else None
        if asked is None or habit is None:
            return
        habit.confirms, habit.tries = True, 0
        self._telemetry.happened(Happening.CONFIRMED)
        self._confirmed(asked.event, self._now() - asked.at_s)


class ConfirmingDevice(SocketDevice):
    """A device that is asked to confirm."""

    def __init__(self, *given: Any, confirmations: Confirmations, **named: Any) -> None:
        super().__init__(*given, **named)
        self._confirmations = confirmations

    def hear(self, message: Message) -> None:
        """Take ``message``, with a number to be acked where it is to be confirmed; see `Device.hear`."""
        number = self._confirmations.number_for(self.sid, message)
        if number is None:
            super().hear(message)
        else:
            self.take((self._encoder.asking(message, number),))


def _event(message: Message) -> str | None:
    if isinstance(message, MessageEnd):
        return "end"
    if isinstance(message, MessageChunk) and (message.from_seq or message.seq) == 1:
        return "first_chunk"
    return None
