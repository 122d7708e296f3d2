"""The wire format of ``@socket.io/redis-adapter``: what Node servers that share a Redis say to each other.

Values in, bytes out, and back; no I/O. A Node server that finds one message which it cannot decode loses
what follows, or its process: so what is made here is checked to be whole, or `ClusterMalformed` is raised.
What comes from there is data of strangers: whatever it is, it becomes a value of ours or `ClusterMalformed`.

Source: dist/index.js of @socket.io/redis-adapter 8.3.0, and of socket.io-redis 5.4 and 6.1; MessagePack.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.errors import ClusterMalformed
from bridge.javascript import from_json, packed, unpacked

Room = str | int | float
"""A room as a Node server names it: a socket's own id is a room too, and JavaScript has only one number."""

UID = "bridge"
"""The name under which all nodes of the bridge publish: none of them minds what another one published."""
NAMESPACE = "/"
EVENT = 2
NOWHERE = ""
"""Stands for what is no name of a room: nobody is there."""
ACK_LIMIT_S = 60.0
"""So long an ack is waited for at most, and where nothing is said of it."""
_OURS = b"\x93\xa6" + UID.encode()
_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class Channels:
    """The names of the channels below ``prefix``, which the adapter calls ``key``."""

    prefix: str = "socket.io"

    def of_room(self, room: Room) -> str:
        """Return where the bridge publishes an emit to one room.

        Node servers listen to all names that begin like this, and cut the last character off unread. Theirs
        is ``#``; ours is another, so that no bridge, listening to ``of_rooms``, is sent what bridges said.
        """
        return f"{self.to_all}{room}."

    @property
    def of_rooms(self) -> str:
        """The pattern of all names where Node servers publish an emit to exactly one room."""
        return _quoted(self.to_all) + "*#"

    @property
    def of_answers(self) -> str:
        """The pattern of the one name where answers to any server come.

        Who wants to know whether Node servers are there counts who listens to the name: a pattern is nobody.
        """
        return _quoted(self.response)

    def of_server(self, uid: str) -> str:
        """Return where one server, or a room, of those that `bridge.cluster_adapter` knows is spoken to."""
        return f"{self.to_all}{uid}#"

    @property
    def to_all(self) -> str:
        """Where any other emit is published, and how each of these names begins."""
        return f"{self.prefix}#{NAMESPACE}#"

    @property
    def request(self) -> str:
        """Where a server asks the others; who listens has to answer."""
        return f"{self.prefix}-request#{NAMESPACE}#"

    @property
    def response(self) -> str:
        """Where a server hears the answers; every other one hears them too."""
        return f"{self.prefix}-response#{NAMESPACE}#"

    def response_to(self, uid: str) -> str:
        """Return where the server ``uid`` alone hears answers."""
        return f"{self.response}{uid}#"

    def room_in(self, channel: str) -> str:
        """Return the room in the name of a channel, empty where it has none."""
        return channel[len(self.to_all) : -1]


@dataclass(frozen=True, slots=True)
class Selection:
    """Sockets: those in any of ``rooms``, or all where it is empty, but none that is in one of ``apart``."""

    rooms: tuple[Room, ...] = ()
    apart: tuple[Room, ...] = ()


@dataclass(frozen=True, slots=True)
class Emit:
    """An event for a selection; ``volatile`` when a socket that is busy may miss it."""

    event: str
    arguments: tuple[Any, ...]
    to: Selection
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asked, and under which name the answers are awaited; both may be empty where none is."""

    uid: str
    request_id: str


@dataclass(frozen=True, slots=True)
class WantSockets:
    """The ids of the sockets in ``to`` are wanted; in ``whole``, what is known of each."""

    to: Selection
    whole: bool


@dataclass(frozen=True, slots=True)
class WantRooms:
    """The names of all rooms are wanted."""


@dataclass(frozen=True, slots=True)
class Join:
    """The sockets in ``to`` shall join ``rooms``; ``alone``: it is one socket, and an answer is wanted."""

    to: Selection
    rooms: tuple[Room, ...]
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """The sockets in ``to`` shall leave ``rooms``; ``alone`` as in `Join`."""

    to: Selection
    rooms: tuple[Room, ...]
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The sockets in ``to`` shall be disconnected; ``alone`` as in `Join`."""

    to: Selection
    alone: bool = False


@dataclass(frozen=True, slots=True)
class ServerSideEmit:
    """Something for the servers themselves, an event and its arguments; one with a request id is answered."""

    said: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class EmitWithAck:
    """An event whose acks are wanted for ``timeout_s``: first the number of sockets, then an ack of each."""

    emit: Emit
    timeout_s: float


Move = Join | Leave | Disconnect
Request = WantSockets | WantRooms | Join | Leave | Disconnect | ServerSideEmit | EmitWithAck


def _quoted(name: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", name)


def is_ours(data: bytes) -> bool:
    """Return whether a published emit is one of the bridge's, without decoding it."""
    return data.startswith(_OURS)


def same_room(room: object) -> Room | None:
    """Return the room that JavaScript would know by this name, None where it is no name of a room."""
    if isinstance(room, int) and not isinstance(room, bool) and abs(room) > _EXACT:
        with contextlib.suppress(OverflowError):
            return float(room)
    return room if isinstance(room, str | int | float) and not isinstance(room, bool) else None


# -- what the bridge says


def emit(event: str, arguments: Sequence[Any], rooms: Sequence[Room], apart: Sequence[Room] = ()) -> bytes:
    """Return an emit as it is published. Raises `ClusterMalformed` where it cannot be said."""
    return packed(
        [UID, packet_of(event, arguments), {**opts_of(Selection((*rooms,), (*apart,))), "flags": {}}]
    )


def packet_of(event: str, arguments: Sequence[Any]) -> dict[str, Any]:
    """Return an event as all adapters know it."""
    return {"type": EVENT, "data": [event, *arguments], "nsp": NAMESPACE}


def opts_of(to: Selection) -> dict[str, Any]:
    """Return a selection as all adapters know it."""
    return {"rooms": [*to.rooms], "except": [*to.apart]}


# -- what Node servers say


def read_emit(data: bytes) -> Emit | None:
    """Return a published emit, None where it is of another namespace. Raises `ClusterMalformed`."""
    match unpacked(data):
        case [_, dict() as packet, dict() as opts]:
            return read_packet(packet, opts) if packet.get("nsp", NAMESPACE) == NAMESPACE else None
    raise ClusterMalformed("unable to read an emit; it has another shape")


def read_request(data: bytes) -> tuple[Asking, Request] | None:
    """Return who asks what, None where the type is unknown. Raises `ClusterMalformed`."""
    asked = from_json(data) if data.startswith(b"{") else unpacked(data)
    if not isinstance(asked, dict):
        raise ClusterMalformed("unable to read a request; it is no object")
    kind = asked.get("type")
    read = _REQUESTS.get(kind) if isinstance(kind, int) else None
    return None if read is None else (Asking(_text(asked, "uid"), _text(asked, "requestId")), read(asked))


def _fetch(asked: dict[str, Any]) -> WantSockets:
    return WantSockets(read_selection(read_object(asked, "opts")), whole=True)


def _join(asked: dict[str, Any]) -> Join:
    to, alone = _whom(asked)
    return Join(to, read_rooms([asked.get("room")] if alone else asked.get("rooms")), alone)


def _leave(asked: dict[str, Any]) -> Leave:
    to, alone = _whom(asked)
    return Leave(to, read_rooms([asked.get("room")] if alone else asked.get("rooms")), alone)


def _emit_with_ack(asked: dict[str, Any]) -> EmitWithAck:
    opts = read_object(asked, "opts")
    return EmitWithAck(read_packet(read_object(asked, "packet"), opts), read_timeout_s(opts.get("flags")))


_REQUESTS: Mapping[int, Callable[[dict[str, Any]], Request]] = {
    0: lambda asked: WantSockets(Selection(read_rooms(asked.get("rooms"))), whole=False),
    1: lambda _: WantRooms(),
    2: _join,
    3: _leave,
    4: lambda asked: Disconnect(*_whom(asked)),
    5: _fetch,
    6: lambda _: ServerSideEmit(),
    7: _emit_with_ack,
}


def _whom(asked: dict[str, Any]) -> tuple[Selection, bool]:
    """Return who is meant, and whether it is one socket alone, as older versions ask."""
    match asked:
        case {"opts": dict() as opts}:
            return read_selection(opts), False
        case {"sid": str(sid)}:
            return Selection((sid,)), True
    raise ClusterMalformed("unable to read a request; it says not for whom")


def read_object(asked: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object in a request. Raises `ClusterMalformed`, as all of these do."""
    value = asked.get(name)
    if not isinstance(value, dict):
        raise ClusterMalformed(f"unable to read a request; its {name} is no object")
    return value


def read_packet(packet: dict[str, Any], opts: dict[str, Any]) -> Emit:
    """Return the event that a packet holds."""
    flags = opts.get("flags")
    volatile = isinstance(flags, dict) and flags.get("volatile") is True
    match packet:
        case {"type": 2 | 5, "data": [str(event), *arguments]}:
            return Emit(event, tuple(arguments), read_selection(opts), volatile)
    raise ClusterMalformed("unable to read a packet; it is no event")


def read_selection(opts: dict[str, Any]) -> Selection:
    """Return who is meant."""
    return Selection(read_rooms(opts.get("rooms")), read_rooms(opts.get("except")))


def read_rooms(named: Any) -> tuple[Room, ...]:
    """Return rooms; what is no name of one is nobody's room."""
    if named is None:
        return ()
    if not isinstance(named, list):
        raise ClusterMalformed("unable to read rooms; they are no list")
    return tuple(NOWHERE if (room := same_room(each)) is None else room for each in named)


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    return value if isinstance(value, str) else ""


def read_timeout_s(flags: Any) -> float:
    """Return how long acks are waited for."""
    match flags:
        case {"timeout": int() | float() as timeout_ms} if 0 < timeout_ms <= ACK_LIMIT_S * 1000:
            return timeout_ms / 1000
    return ACK_LIMIT_S
