"""The copies of what a room hears for servers that are no bridges, in every format that is wanted.

Each copy is one Redis command, run by the script that keeps the message, or the order: what was kept is
published, once, and what was fenced is not. Sources: @socket.io/redis-adapter 8.3.0 (classic and sharded),
@socket.io/redis-streams-adapter 0.3.1, python-socketio 5.18.1 (async_pubsub_manager.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from bridge import cluster_adapter, node_cluster, node_requests, orders
from bridge.errors import ClusterMalformed
from bridge.javascript import as_json, as_json_or_packed, packed
from bridge.messages import Message, event_name, payload
from bridge.node_cluster import (
    ACK_LIMIT_S,
    NAMESPACE,
    UID,
    Asking,
    Channels,
    Disconnect,
    Emit,
    EmitWithAck,
    Join,
    Leave,
    Move,
    Selection,
)
from bridge.node_requests import callback_id
from bridge.orders import Order
from bridge.ports import Command

STREAM_LENGTH = 10_000
"""The streams adapter's own bound."""


@dataclass(slots=True)
class Audience:
    """Whether servers that are no bridges listen."""

    there: bool = False


Word = Emit | EmitWithAck | Move
Format = Callable[[Word, str], Command | None]
"""Makes the copy of what a room hears, or of an order; None where the format has no word for it.

The acks of an `EmitWithAck` come with the request id that is given.
"""


def classic(channels: Channels) -> Format:
    """Say it to servers with ``createAdapter`` of @socket.io/redis-adapter."""

    def copy(word: Word, request_id: str) -> Command:
        match word:
            case Emit(event, arguments, to):
                channel = channels.of_room(to.rooms[0]) if len(to.rooms) == 1 else channels.to_all
                return "PUBLISH", channel, node_cluster.emit(event, arguments, to.rooms, to.apart)
            case _:
                return "PUBLISH", channels.request, node_requests.say(Asking(UID, request_id), word)

    return copy


def sharded(channels: Channels) -> Format:
    """Say it to servers with ``createShardedAdapter``, on the one channel that all of them hear."""

    def copy(word: Word, request_id: str) -> Command:
        return "SPUBLISH", channels.to_all, as_json_or_packed(cluster_adapter.whole(word, request_id))

    return copy


def streams(name: str) -> Format:
    """Say it to servers with @socket.io/redis-streams-adapter that have one stream, ``name``.

    An emit with acks is said on the channel for what is not kept, whose name begins with the same.
    """
    channels = Channels(name)

    def copy(word: Word, request_id: str) -> Command:
        if isinstance(word, EmitWithAck):
            return "PUBLISH", channels.to_all, packed(cluster_adapter.whole(word, request_id))
        kind, data = cluster_adapter.said(word, request_id)
        head = ("XADD", name, "MAXLEN", "~", STREAM_LENGTH, "*", "uid", UID, "nsp", NAMESPACE)
        return *head, "type", kind, "data", cluster_adapter.as_field(data)

    return copy


def python(channel: str) -> Format:
    """Say it to python-socketio servers with a Redis manager of this ``channel``: emits alone."""

    def copy(word: Word, _: str) -> Command | None:
        return ("PUBLISH", channel, as_json(_in_python(word))) if isinstance(word, Emit) else None

    return copy


def _in_python(emit: Emit) -> dict[str, Any]:
    rooms = [*emit.to.rooms]
    return {
        "method": "emit",
        "event": emit.event,
        "data": [*emit.arguments],
        "binary": False,
        "namespace": NAMESPACE,
        "room": rooms[0] if len(rooms) == 1 else rooms or None,
        "skip_sid": [*emit.to.apart] or None,
        "callback": None,
        "host_id": UID,
    }


class Copies:
    """Makes the copies while ``wanted`` says so; ``names`` renames events as the devices know them.

    What cannot be said is left out and given to ``fault``. ``uid`` is this node's name among the servers.
    """

    def __init__(
        self,
        formats: Sequence[tuple[Format, Callable[[], bool]]],
        *,
        uid: str,
        names: Mapping[str, str],
        fault: Callable[[BaseException], None],
    ) -> None:
        self._formats = formats
        self._uid = uid
        self._names = names
        self._fault = fault

    def of(self, messages: Sequence[Message]) -> Sequence[Command]:
        """Return what is to be published of ``messages``; see `Outbound.of`."""
        wanted = self._wanted()
        return list(self._made(map(self._heard, messages), wanted)) if wanted else ()

    def told(self, order: Order) -> Sequence[Command]:
        """Return what is to be published of ``order``; see `Neighbours.told`."""
        wanted, word = self._wanted(), _word(order)
        if not wanted or word is None:
            return ()
        number = order.number if isinstance(order, orders.Emit) else None
        return list(self._made([word], wanted, "" if number is None else callback_id(self._uid, number)))

    def _wanted(self) -> list[Format]:
        return [make for make, is_wanted in self._formats if is_wanted()]

    def _heard(self, message: Message) -> Emit:
        name = event_name(message)
        return Emit(self._names.get(name, name), (payload(message),), Selection((message.room_id,)))

    def _made(
        self, words: Iterable[Word], wanted: Sequence[Format], request_id: str = ""
    ) -> Iterator[Command]:
        for word in words:
            for make in wanted:
                try:
                    copy = make(word, request_id)
                except ClusterMalformed as error:
                    self._fault(error)
                    continue
                if copy is not None:
                    yield copy


def _word(order: Order) -> Word | None:
    """Return what other servers are told of an order; they know one namespace and their own callbacks."""
    if isinstance(order, orders.Answer | orders.RemoveMember) or order.namespace != NAMESPACE:
        return None
    return _emit(order) if isinstance(order, orders.Emit) else _move(order)


def _move(order: orders.Moved) -> Move:
    match order:
        case orders.EnterRoom(_, sid, room):
            return Join(Selection((sid,)), (room,))
        case orders.LeaveRoom(_, sid, room):
            return Leave(Selection((sid,)), (room,))
        case orders.CloseRoom(_, room):
            return Leave(Selection((room,)), (room,))
        case orders.Disconnect(_, sid):
            return Disconnect(Selection((sid,)))
        case _:
            assert_never(order)


def _emit(order: orders.Emit) -> Emit | EmitWithAck | None:
    event, *arguments = orders.whole(order.event)
    if order.rooms == [] or not isinstance(event, str):  # to nobody; no rooms mean everybody to them
        return None
    emit = Emit(event, tuple(arguments), Selection(tuple(order.rooms or ()), tuple(order.skip)))
    return emit if order.number is None else EmitWithAck(emit, ACK_LIMIT_S)
