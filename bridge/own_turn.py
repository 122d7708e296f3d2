"""One turn as its asker hears it who has no standing connection: asked over HTTP, or found again there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import replace

from bridge.connections import Connections
from bridge.events import Id
from bridge.guest import Guest, Visitor
from bridge.messages import Message, MessageEnd, NewMessage
from bridge.queued_device import QueuedDevice
from bridge.relay import Relay
from bridge.requests import Send
from bridge.rooms import Rooms

LOOK_S = 15.0
"""After so long without a word `OwnTurn.messages` gives an empty list, so that a sign of life can be sent."""


def ends(message: Message, *, streaming: bool | None) -> bool:
    """Return whether ``message`` is the last that a device hears of an answer."""
    match message:
        case NewMessage(role=role):
            return role == "assistant"
        case MessageEnd(content=content):
            return bool(streaming) or not content
        case _:
            return False


class OwnTurn:
    """What is heard of the turn of ``request_id``; None: of every turn, until `find` chooses one.

    Made in a running event loop; ``answer_s`` is when at the latest it is over.
    """

    device: QueuedDevice[Message]
    """The asker, once it is connected."""

    def __init__(self, request_id: Id | None, answer_s: float) -> None:
        self.request_id = request_id
        self.over = False
        """True once the last message is given."""
        self.silent = False
        """True when the turn is over without a last message."""
        self._found: list[Message] = []
        self._until_s = asyncio.get_running_loop().time() + answer_s

    def of_turn(self, message: Message) -> Message | None:
        """Return ``message`` if it is of the turn."""
        return message if self.request_id in (None, message.request_id) else None

    async def messages(self) -> AsyncIterator[list[Message]]:
        """Give what is heard until the turn or the connection is over."""
        heard = self._found or await self.device.take(LOOK_S)
        while heard or not self.device.ended:
            self.over = any(ends(message, streaming=self.device.streaming) for message in heard)
            yield heard
            if self.over:
                return
            if not heard and asyncio.get_running_loop().time() > self._until_s:
                self.fall_silent()
            heard = await self.device.take(LOOK_S)

    async def find(self) -> list[Id]:
        """Return the requests of the turns that run in the rooms just joined, and be the last one's."""
        heard = await self.device.take(0.0)
        over = {message.request_id for message in heard if ends(message, streaming=self.device.streaming)}
        told = [message.request_id for message in heard if not isinstance(message, NewMessage)]
        running = [request_id for request_id in dict.fromkeys(told) if request_id not in over]
        if running:
            self._choose(running[-1], heard)
        return running

    async def begun(self, within_s: float) -> list[Id]:
        """Return the request of the turn that is heard next, and be its; nothing after ``within_s``."""
        heard = await self.device.take(within_s)
        for message in heard[:1]:
            self._choose(message.request_id, heard)
        return [message.request_id for message in heard[:1]]

    def _choose(self, request_id: Id, heard: list[Message]) -> None:
        self.request_id = request_id
        self._found = [message for message in heard if message.request_id == request_id]

    def fall_silent(self) -> None:
        """Know that no more will be said."""
        self.silent = True
        self.device.end()


class OwnTurns:
    """Turns for askers over HTTP; ``new_id`` names requests that have no name."""

    def __init__(
        self,
        *,
        relay: Relay,
        rooms: Rooms,
        connections: Connections,
        new_id: Callable[[], str],
        answer_s: float,
    ) -> None:
        self._relay = relay
        self._rooms = rooms
        self._connections = connections
        self._new_id = new_id
        self._answer_s = answer_s

    @asynccontextmanager
    async def ask(
        self, visitor: Visitor, send: Send, *, streaming: bool | None, cut_off: Callable[[], None]
    ) -> AsyncIterator[OwnTurn]:
        """Run the turn of ``send``, or attach to it. Who leaves does not end it. Raises `RequestError`."""
        request_id = self._new_id() if send.request_id is None else send.request_id
        turn = OwnTurn(request_id, self._answer_s)
        with self._connected(visitor, turn, streaming=streaming, cut_off=cut_off) as guest:
            turn.device = guest.device
            await guest.enter(self._rooms, send.room_id, {})
            await self._relay.send(turn.device, replace(send, request_id=request_id))
            self._relay.when_over(send.room_id, request_id, turn.fall_silent)
            yield turn

    @asynccontextmanager
    async def found(
        self, visitor: Visitor, rooms: Sequence[Id], *, cut_off: Callable[[], None]
    ) -> AsyncIterator[OwnTurn]:
        """Be in ``rooms`` as a streaming device, and hear every turn until one is chosen.

        Raises `RequestError`.
        """
        turn = OwnTurn(None, self._answer_s)
        with self._connected(visitor, turn, streaming=True, cut_off=cut_off) as guest:
            turn.device = guest.device
            for room_id in rooms:
                await guest.enter(self._rooms, room_id, {})
            yield turn

    def _connected(
        self, visitor: Visitor, turn: OwnTurn, *, streaming: bool | None, cut_off: Callable[[], None]
    ) -> AbstractContextManager[Guest[QueuedDevice[Message]]]:
        return self._connections.open(visitor, turn.of_turn, streaming=streaming, cut_off=cut_off)
