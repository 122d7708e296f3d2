"""The Socket.IO door: client events in, acks out. It translates and decides nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import socketio

from bridge.errors import RequestError
from bridge.facts import Happening
from bridge.ports import Telemetry
from bridge.relay import Relay
from bridge.requests import parse_join, parse_leave, parse_resume, parse_send, parse_stop
from bridge.rooms import Rooms
from bridge.sockets.device import SocketDevice
from bridge.sockets.encoder import Encoder
from bridge.sockets.line import line_of

Ack = dict[str, Any]
LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class EventNames:
    """The names the clients use, where they are not ours."""

    join: str = "join_room"
    leave: str = "leave_room"
    send: str = "send_message"
    new_message: str = "new_message"


class BridgeNamespace(socketio.AsyncNamespace):  # type: ignore[misc]  # python-socketio has no types
    """The namespace ``/``: every event is answered ``{ok: true, ...}`` or ``{ok: false, error}``."""

    def __init__(
        self,
        *,
        relay: Relay,
        rooms: Rooms,
        telemetry: Telemetry,
        names: EventNames,
        content_limit_bytes: int,
        backlog: int,
        stuck_s: float,
    ) -> None:
        super().__init__("/")
        self._relay = relay
        self._rooms = rooms
        self._telemetry = telemetry
        self._content_limit_bytes = content_limit_bytes
        self._backlog = backlog
        self._stuck_s = stuck_s
        self._encoder = Encoder({"new_message": names.new_message})
        self._devices: dict[str, SocketDevice] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: Mapping[str, Callable[[SocketDevice, object], Awaitable[Ack]]] = {
            names.join: self._join,
            names.leave: self._leave,
            names.send: self._send,
            "stop_message": self._stop,
            "resume": self._resume,
        }

    async def trigger_event(self, event: object, *args: Any) -> Any:
        """Take whatever python-socketio brings: its own connect and disconnect, or a client's event."""
        sid = args[0]
        device = self._devices.get(sid)
        if event == "connect" and device is None:
            return self._connect(sid, args[-1])
        if event == "disconnect" and not self.server.manager.is_connected(sid, "/"):
            return self._disconnect(sid)
        if device is None:
            return None
        return await self._answer(device, event, args[1:])

    @property
    def devices(self) -> Mapping[str, SocketDevice]:
        """The connected devices, each under its sid."""
        return self._devices

    async def close(self) -> None:
        """Look after no device any more: all are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connect(self, sid: str, auth: object) -> None:
        said = auth.get("streaming") if isinstance(auth, dict) else None
        if said is not None and not isinstance(said, bool):
            why = {"code": "bad_auth", "retryable": False}
            raise socketio.exceptions.ConnectionRefusedError("auth.streaming must be true or false", why)
        eio_sid = self.server.manager.eio_sid_from_sid(sid, "/")
        self._devices[sid] = SocketDevice(
            self.server.eio.sockets[eio_sid],
            self._encoder,
            sid=sid,
            streaming=said,
            backlog=self._backlog,
            lagged=lambda device: self._see_to(self._follow(device)),
            overflowed=lambda device: self._see_to(self._cut_off(device)),
        )

    def _disconnect(self, sid: str) -> None:
        device = self._devices.pop(sid, None)
        if device is not None:
            self._rooms.gone(device)

    def _see_to(self, device: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(device)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, device: SocketDevice) -> None:
        """Wait until a device lags no more, and tell it what it lacks; cut it off if it is stuck."""
        self._telemetry.happened(Happening.LAGGED)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stuck_s):
                while device.lagging:  # noqa: ASYNC110  (a transport tells nobody when it has drained)
                    await asyncio.sleep(LOOK_AGAIN_S)
                self._rooms.caught_up(device)
                return
        await self._cut_off(device)

    async def _cut_off(self, device: SocketDevice) -> None:
        self._telemetry.happened(Happening.CUT_OFF)
        line = line_of(device.socket)
        if line is not None:
            line.cut()
        await device.socket.close(wait=False, abort=True)

    async def _answer(self, device: SocketDevice, event: object, args: tuple[Any, ...]) -> Ack:
        try:
            if any(_holds_bytes(arg) for arg in args):
                raise RequestError("binary_refused", "unable to take the event; it holds binary data")
            handler = self._handlers.get(event) if isinstance(event, str) else None
            if handler is None:
                raise RequestError("unknown_event", "unable to take the event; its name is unknown")
            return {"ok": True, **await handler(device, args[0] if args else None)}
        except RequestError as error:
            return {"ok": False, "error": {"code": error.code, "message": str(error)}}
        except Exception as fault:  # noqa: BLE001  (one bad event must not cost the connection)
            self._telemetry.fault(fault)
            return {"ok": False, "error": {"code": "internal", "message": "unable to act; the bridge failed"}}

    async def _join(self, device: SocketDevice, data: object) -> Ack:
        join = parse_join(data)
        joined = await self._rooms.join(device, join.room_id, join.resume)
        active = [
            {"requestId": turn.request_id, "messageId": turn.message_id, "seq": turn.seq}
            for turn in joined.active
        ]
        self._count_resumes(len(join.resume) - len(joined.lost), len(joined.lost))
        lost = {"lost": joined.lost} if joined.lost else {}
        return {"roomId": join.room_id, "active": active, **lost}

    async def _leave(self, device: SocketDevice, data: object) -> Ack:
        self._rooms.leave(device, parse_leave(data).room_id)
        return {}

    async def _send(self, device: SocketDevice, data: object) -> Ack:
        send = parse_send(data, content_limit_bytes=self._content_limit_bytes)
        sent = await self._relay.send(device, send)
        ack: Ack = {"requestId": sent.request_id}
        if sent.message_id is not None:
            ack["messageId"] = sent.message_id
        return {**ack, "duplicate": True} if sent.duplicate else ack

    async def _stop(self, device: SocketDevice, data: object) -> Ack:
        stop = parse_stop(data)
        await self._relay.stop(device, stop.room_id, message_id=stop.message_id, request_id=stop.request_id)
        return {}

    async def _resume(self, device: SocketDevice, data: object) -> Ack:
        resume = parse_resume(data)
        resumed = await self._rooms.resume(device, resume.room_id, resume.message_id, resume.seq)
        self._count_resumes(int(resumed.recovered), int(not resumed.recovered))
        return {"recovered": resumed.recovered, "seq": resumed.seq}

    def _count_resumes(self, known: int, unknown: int) -> None:
        self._telemetry.happened(Happening.RESUMED, known)
        self._telemetry.happened(Happening.RESUME_UNKNOWN, unknown)


def _holds_bytes(value: object) -> bool:
    match value:
        case bytes() | bytearray():
            return True
        case dict():
            return any(map(_holds_bytes, value.values()))
        case list():
            return any(map(_holds_bytes, value))
        case _:
            return False
