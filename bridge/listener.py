"""A device without a client: hears a room for a door that asks there and waits, wherever the turn runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bridge.events import Id
from bridge.messages import Message, MessageEnd
from bridge.relay import Relay
from bridge.requests import Send
from bridge.rooms import Rooms


class Listener:
    """Gives all that a streaming device of ``user`` would hear to ``take``, which must not wait."""

    def __init__(self, user: str, take: Callable[[Message], None]) -> None:
        self.streaming: bool | None = True
        self.user = user
        self._take = take

    @property
    def lagging(self) -> bool:
        """False: what it hears goes nowhere and waits for nothing."""
        return False

    @property
    def way(self) -> None:
        """None: it has no client."""

    def hear(self, message: Message) -> None:
        """Take ``message``; see `Device.hear`."""
        self._take(message)


@asynccontextmanager
async def end_of(
    relay: Relay, rooms: Rooms, send: Send, user: str
) -> AsyncIterator[asyncio.Future[MessageEnd]]:
    """Run the turn of ``send``, which has a request id, or attach to it; give its end, told by any node.

    Who leaves before does not end the turn. Raises `RequestError` as `Relay.send` does.
    """
    ended: asyncio.Future[MessageEnd] = asyncio.get_running_loop().create_future()

    def take(message: Message) -> None:
        if isinstance(message, MessageEnd) and message.request_id == send.request_id and not ended.done():
            ended.set_result(message)

    listener = Listener(user, take)
    await rooms.join(listener, send.room_id, {})
    try:
        await relay.send(listener, send)
        yield ended
    finally:
        rooms.gone(listener)


async def under_way(rooms: Rooms, room_id: Id) -> list[Message]:
    """Return what a device must hear that joins the room now."""
    heard: list[Message] = []
    listener = Listener("", heard.append)
    await rooms.join(listener, room_id, {})
    rooms.gone(listener)
    return heard
