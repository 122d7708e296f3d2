"""python-socketio's client manager over the inboxes of the nodes: clients and rooms are those of all of them.

The stock one listens from the first connection on, and loses what is published while its subscription is
cut. Here an order waits in the inbox of every living node, from the start of its process. Servers that are no
bridges are told the same; so each client hears it from its own server, once.
"""

import asyncio
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, assert_never

import socketio
from socketio.packet import Packet

from bridge import orders
from bridge.errors import BridgeError, OrderUnusable
from bridge.identity import Removal
from bridge.orders import (
    Answer,
    Carried,
    CloseRoom,
    Disconnect,
    Emit,
    EnterRoom,
    LeaveRoom,
    Moved,
    Order,
    RemoveMember,
    Room,
    whole,
)
from bridge.ports import Inbox, Neighbours, Telemetry

ANSWER_S = 60.0
"""How long a callback waits for a client of another node; python-socketio's `call` waits as long."""
CLOSE_S = 1.0
ANSWERS_AWAITED = 10_000
ANSWERS_OF_CLIENT = 1000
"""How many callbacks may wait, in all and for one client; beyond it the oldest are forgotten."""

Callback = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class _Awaited:
    callback: Callback
    until_s: float


class Guests(Protocol):
    """The clients of this node that have joined rooms by their own wish, beside those the server let in."""

    def among(self, room: Room) -> Mapping[str, str]:
        """Return who is in a room: to each sid the id of its connection."""
        ...

    def leave(self, sid: str, room: Room) -> None:
        """Let a client out of a room; no error where it is not in."""
        ...


class ClientManager(socketio.AsyncManager):  # type: ignore[misc]  # python-socketio has no types
    """Knows the clients of this node, and orders what concerns others from the nodes behind ``inbox``.

    Without a server it emits to the clients of all nodes and has none of its own. ``now`` gives monotonic
    seconds. A callback is called once, with the first answer. ``guests`` are in their rooms too.
    ``removed`` is told who is no member of a room any more, whichever node says so.
    """

    def __init__(
        self,
        inbox: Inbox,
        telemetry: Telemetry,
        now: Callable[[], float],
        *,
        neighbours: Neighbours | None = None,
        guests: Guests | None = None,
        removed: Callable[[Removal], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self.unreadable = 0
        """How many orders could not be read."""
        self._inbox = inbox
        self._telemetry = telemetry
        self._now = now
        self._neighbours = neighbours
        self._guests = guests
        self._removed = removed
        self._numbers = itertools.count(1)
        self._awaited: dict[int, _Awaited] = {}
        self._obeying: set[asyncio.Task[None]] = set()

    # -- what the server of this node wants

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        *,
        room: Any = None,
        skip_sid: Any = None,
        callback: Callback | None = None,
        to: Any = None,
        ignore_queue: bool = False,
    ) -> None:
        """Emit to the clients of ``room`` on all nodes. Raises `OrderUnusable` and `StoreUnavailable`."""
        room, namespace = to or room, namespace or "/"
        skip = [skip_sid] if isinstance(skip_sid, str) else list(skip_sid or ())
        if not ignore_queue and not self._is_here(room, namespace):
            number = next(self._numbers) if callback is not None else None
            carried = _carried([event, *_arguments(data)])
            self._tell(Emit(namespace, carried, _rooms(room), skip, number))
            if callback is not None and number is not None:
                self._await(number, callback)
                callback = partial(self._answered, number)
        await super().emit(event, data, namespace, room, skip, callback)

    async def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Return whether the client is here to be disconnected; else its node is told to."""
        if self._is_here(sid, namespace):
            return bool(self.is_connected(sid, namespace))
        self._tell(Disconnect(namespace, sid))
        return False

    async def enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Let a client of any node into a room."""
        if eio_sid is not None or self._is_here(sid, namespace):
            await super().enter_room(sid, namespace, room, eio_sid=eio_sid)
        else:
            self._tell(EnterRoom(namespace, sid, _room(room)))

    async def leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Let a client of any node out of a room."""
        if self._is_here(sid, namespace):
            self.leave_here(sid, namespace, room)
        else:
            self._tell(LeaveRoom(namespace, sid, _room(room)))

    async def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Let the clients of all nodes out of a room."""
        namespace = namespace or "/"
        self._close(room, namespace)
        self._tell(CloseRoom(namespace, _room(room)))

    def remove_member(self, removal: Removal) -> None:
        """Let a user's devices on all nodes out of a room. Raises `StoreUnavailable`: only these are."""
        self._removed(removal)
        self._tell(RemoveMember(removal))

    async def trigger_callback(self, sid: str, id: int, data: Any) -> None:  # noqa: A002
        """Call the callback that waits for a client's answer; what is none is not minded."""
        if id and isinstance(data, list):  # in the place of callback 0 the library keeps its counter
            await super().trigger_callback(sid, id, data)

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Give the clients of this node in a room, or in any of several: whoever let them in."""
        found = dict(super().get_participants(namespace, room))
        if self._guests is not None and namespace == "/" and room is not None:
            for each in _rooms(room) or ():
                if not self._is_here(each, namespace):  # the name of one client is nobody else's room
                    found.update(self._guests.among(each))
        yield from found.items()

    def leave_here(self, sid: str, namespace: str, room: Any) -> None:
        """Let a client of this node out of a room, whoever let it in."""
        self.basic_leave_room(sid, namespace, room)
        if self._guests is not None and namespace == "/" and room != sid:
            self._guests.leave(sid, room)

    # -- what the servers of other nodes want

    def obey(self, sender: str, order: str) -> None:
        """Do what another node wants; see `Sockets.obey`.

        Each order is a task, for it may run handlers; they begin in the order in which they came.
        """
        try:
            wanted = orders.decode(order)
        except ValueError:
            self.unreadable += 1
            return
        self._begin(sender, wanted)

    def answered(self, number: int, arguments: tuple[Any, ...]) -> None:
        """Take what a client of a server that is no bridge answered to the callback ``number``."""
        self._begin("", Answer(number, Carried(list(arguments))))

    def _begin(self, sender: str, wanted: Order) -> None:
        task = asyncio.create_task(self._obey(sender, wanted), name="order")
        self._obeying.add(task)
        task.add_done_callback(self._obeying.discard)

    async def close(self) -> None:
        """End what is still being obeyed."""
        for task in self._obeying:
            task.cancel()
        if self._obeying:
            await asyncio.wait(self._obeying, timeout=CLOSE_S)  # a handler may not mind that it is cancelled

    async def _obey(self, sender: str, order: Order) -> None:
        try:
            await self._do(sender, order)
        except Exception as fault:  # noqa: BLE001  (one bad order, or a handler, must not deafen the node)
            self._telemetry.fault(fault)

    async def _do(self, sender: str, order: Order) -> None:
        match order:
            case Emit():
                await self._emit_here(sender, order)
            case Answer(number, arguments):
                answered = self._answered(number, *whole(arguments))
                if inspect.isawaitable(answered):
                    await answered
            case RemoveMember(removal):
                self._removed(removal)
            case _:
                await self._move(order)

    async def _move(self, order: Moved) -> None:
        match order:
            case EnterRoom(namespace, sid, room):
                if self._is_here(sid, namespace):
                    await super().enter_room(sid, namespace, room)
            case LeaveRoom(namespace, sid, room):
                self.leave_here(sid, namespace, room)
            case CloseRoom(namespace, room):
                if not self._is_here(room, namespace):
                    self._close(room, namespace)
            case Disconnect(namespace, sid):
                await asyncio.sleep(0)  # behind the packets of the emits before it: each is a task of its own
                await self.server.disconnect(sid, namespace, ignore_queue=True)
            case _:
                assert_never(order)

    async def _emit_here(self, sender: str, order: Emit) -> None:
        event, *arguments = whole(order.event)
        number = order.number
        callback = None if number is None else partial(self._answer, sender, number)
        await super().emit(event, tuple(arguments), order.namespace, order.rooms, order.skip, callback)

    # -- callbacks

    def _await(self, number: int, callback: Callback) -> None:
        now_s = self._now()
        while self._awaited:
            oldest = next(iter(self._awaited))
            if self._awaited[oldest].until_s > now_s and len(self._awaited) < ANSWERS_AWAITED:
                break
            del self._awaited[oldest]
        self._awaited[number] = _Awaited(callback, now_s + ANSWER_S)

    def _answered(self, number: int, *arguments: Any) -> Any:
        """Call the callback ``number``, if it still waits, and return what it gave."""
        awaited = self._awaited.pop(number, None)
        if awaited is not None and awaited.until_s > self._now():
            return awaited.callback(*arguments)
        return None

    def _answer(self, sender: str, number: int, *arguments: Any) -> None:
        """Tell the node that asked what a client of ours answered."""
        try:
            self._tell(Answer(number, _carried(list(arguments))), to=sender)
        except BridgeError as error:
            self._telemetry.fault(error)

    def expect_ack(self, sid: str, callback: Callback) -> int:
        """Return the number of an ack of a client of this node; ``callback`` is called when it comes."""
        return self._generate_ack_id(sid, callback)

    def _generate_ack_id(self, sid: str, callback: Callback) -> int:
        number: int = super()._generate_ack_id(sid, callback)
        if number > ANSWERS_OF_CLIENT:
            self.callbacks[sid].pop(number - ANSWERS_OF_CLIENT, None)
        return number

    def _close(self, room: Any, namespace: str) -> None:
        inside = [sid for sid, _ in self.get_participants(namespace, room)]
        self.basic_close_room(room, namespace)
        for sid in inside:
            self.leave_here(sid, namespace, room)

    def _is_here(self, sid: Any, namespace: str) -> bool:
        return isinstance(sid, str) and bool(self.is_sid_room(namespace, sid))

    def _tell(self, order: Order, to: str = "") -> None:
        text = orders.encode(order)
        copies = () if to or self._neighbours is None else self._neighbours.told(order)
        self._inbox.order(text, to, copies)


def _arguments(data: Any) -> list[Any]:
    """Return the arguments of an event as python-socketio counts them."""
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]


def _carried(values: list[Any]) -> Carried:
    try:
        return Carried(*Packet.deconstruct_binary(values))
    except RecursionError as exc:
        raise OrderUnusable("unable to tell other nodes; it is too deep") from exc


def _rooms(room: Any) -> list[Room] | None:
    match room:
        case None:
            return None
        case list() | tuple():
            return [_room(each) for each in room]
        case _:
            return [_room(room)]


def _room(room: Any) -> Room:
    if isinstance(room, str | int):
        return room
    raise OrderUnusable("unable to tell other nodes; a room must be named by a text or an integer")
