"""The Socket.IO devices of this node as Node servers see them: sockets with an id, in rooms of any JSON name.

A Node server may select any of them, emit to them, ask who they are, move them and disconnect them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.packet import EVENT, Packet

from bridge.events import valid_id
from bridge.node_answers import Socket
from bridge.node_cluster import NAMESPACE, Emit, EmitWithAck, Room, Selection, same_room
from bridge.rooms import Rooms
from bridge.sockets.device import SocketDevice

NUMBER_LENGTH = 20
"""No 64-bit integer is written with more characters."""


class JoinedRooms:
    """The clients that have joined rooms themselves; see `Guests` of the client manager."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def among(self, room: Room) -> dict[str, str]:
        """Return who is in a room: to each sid the id of its connection."""
        return {device.sid: device.socket.sid for device in self._devices(room)}

    def leave(self, sid: str, room: Room) -> None:
        """Let a client out of a room."""
        for device in [each for each in self._devices(room) if each.sid == sid]:
            for named in self._rooms.joined(device) & {room}:
                self._rooms.leave(device, named)

    def _devices(self, room: Room) -> list[SocketDevice]:
        return [each for each in self._rooms.members(room) if isinstance(each, SocketDevice)]


class Crowd:
    """The ``devices`` of ``server`` (an ``socketio.AsyncServer``), each under its sid, in the ``rooms``.

    ``new_message`` is the name under which they know complete messages.
    """

    def __init__(
        self, server: Any, devices: Mapping[str, SocketDevice], rooms: Rooms, *, new_message: str
    ) -> None:
        self._server = server
        self._devices = devices
        self._rooms = rooms
        self._new_message = new_message

    def knows(self, name: str) -> bool:
        """Return whether a device is in a room that is written like ``name``, whatever its type."""
        numbered = name.lstrip("-").isdecimal() and len(name) <= NUMBER_LENGTH
        return bool(self._in(name) or (numbered and self._in(same_room(int(name)))))

    def rooms(self) -> list[Room]:
        """Return every room that a device is in, and every device's own."""
        return list(dict.fromkeys(room for sid in self._devices for room in self._rooms_of(sid)))

    def sids(self, to: Selection) -> list[str]:
        """Return the ids of those in ``to``."""
        return [device.sid for device in self._among(to)]

    def described(self, to: Selection) -> list[Socket]:
        """Return what a Node server is told of those in ``to``."""
        return [Socket(device.sid, tuple(self._rooms_of(device.sid)), {}) for device in self._among(to)]

    def named(self) -> set[Room]:
        """Return the rooms that somebody here is in, or was a moment ago; no device's own."""
        entered = self._server.manager.rooms.get(NAMESPACE, {}).keys()
        found: set[Room] = (self._rooms.named | entered) - self._devices.keys() - {None}
        return found

    def emit(self, emit: Emit) -> None:
        """Let those hear an event for whom it is."""
        packets: Sequence[EnginePacket] = ()
        for device in self._among(emit.to):
            if self._hears(device, emit):
                if len(packets) != 1:  # attachments are encoded for one transport, so nobody shares them
                    packets = _packets(emit)
                device.take(packets)

    def emit_with_ack(self, asked: EmitWithAck, acked: Callable[[Any], None]) -> int:
        """Let them hear an event, and give each one's ack to ``acked``; return how many they are."""
        devices = self._among(asked.emit.to)
        for device in devices:
            ack_id = self._server.manager._generate_ack_id(  # noqa: SLF001  (the library's only way)
                device.sid, lambda *said: acked(said[0] if said else None)
            )
            device.take(_packets(asked.emit, ack_id))
            asyncio.get_running_loop().call_later(asked.timeout_s, self._forget_ack, device.sid, ack_id)
        return len(devices)

    async def join(self, to: Selection, rooms: Iterable[Room]) -> int:
        """Let them into ``rooms``, as if they had joined themselves; return how many they are."""
        devices = self._among(to)
        for device in devices:
            for room in rooms:
                if isinstance(room, str | int) and valid_id(room) and device.sid in self._devices:
                    await self._rooms.join(device, room, {})
        return len(devices)

    def leave(self, to: Selection, rooms: Iterable[Room]) -> int:
        """Let them out of ``rooms``; return how many they are."""
        devices, manager = self._among(to), self._server.manager
        for device in devices:
            for room in rooms:
                if room != device.sid:
                    manager.leave_here(device.sid, NAMESPACE, room)
        return len(devices)

    async def disconnect(self, sid: str) -> None:
        """Disconnect one."""
        await self._server.disconnect(sid)

    def _among(self, to: Selection) -> list[SocketDevice]:
        chosen = [each for room in to.rooms for each in self._in(room)]
        apart = {each for room in to.apart for each in self._in(room)}
        everybody = dict.fromkeys(chosen if to.rooms else self._devices.values())
        return [device for device in everybody if device not in apart]

    def _in(self, room: Room | None) -> list[SocketDevice]:
        if isinstance(room, str) and room in self._devices:
            return [self._devices[room]]
        if isinstance(room, float):  # a number that JavaScript has not exactly
            known = {each for each in self.rooms() if same_room(each) == room}
            return [device for each in known for device in self._members(each)]
        return self._members(room)

    def _members(self, room: Room | None) -> list[SocketDevice]:
        """Return those in a room, whoever let them in: they themselves, or what is emitted through `sio`."""
        if room is None:
            return []
        inside = self._server.manager.get_participants(NAMESPACE, room)
        return [self._devices[sid] for sid, _ in inside if sid in self._devices]

    def _rooms_of(self, sid: str) -> list[Room]:
        entered = self._server.manager.get_rooms(sid, NAMESPACE)
        return list(dict.fromkeys([sid, *entered, *self._rooms.joined(self._devices[sid])]))

    def _hears(self, device: SocketDevice, emit: Emit) -> bool:
        if emit.volatile and device.busy:
            return False
        if emit.event.startswith("ai_message_"):
            return device.streaming is not False
        if emit.event != self._new_message or not device.streaming:
            return True
        match emit.arguments:
            case [{"messageId": str() | int() as message_id}, *_]:
                return not any(self._rooms.streamed(room, message_id) for room in emit.to.rooms)
        return True

    def _forget_ack(self, sid: str, ack_id: int) -> None:
        self._server.manager.callbacks.get(sid, {}).pop(ack_id, None)


def _packets(emit: Emit, ack_id: int | None = None) -> list[EnginePacket]:
    encoded = Packet(EVENT, data=[emit.event, *emit.arguments], namespace="/", id=ack_id).encode()
    return [EnginePacket(MESSAGE, each) for each in (encoded if isinstance(encoded, list) else [encoded])]
