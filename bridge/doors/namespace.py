"""The Socket.IO door: client events in, acks out. It translates and decides nothing."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any

import socketio

from bridge.acks import Acks
from bridge.admission import Admission
from bridge.auth import bearer
from bridge.errors import RequestCode, RequestError
from bridge.events import Id
from bridge.facts import Happening
from bridge.guest import Guest
from bridge.ports import Telemetry
from bridge.rooms import Rooms
from bridge.sockets.confirmations import Confirmations, ConfirmingDevice
from bridge.sockets.device import SocketDevice
from bridge.sockets.encoder import Encoder

LOOK_AGAIN_S = 0.05
GOODBYE_S = 0.5
"""So long a device that is sent away has to read why."""


class BridgeNamespace(socketio.AsyncNamespace):  # type: ignore[misc]  # python-socketio has no types
    """The namespace ``/``; ``new_message`` is the name the clients know that event by."""

    def __init__(
        self,
        *,
        admission: Admission,
        acks: Acks,
        rooms: Rooms,
        telemetry: Telemetry,
        confirmations: Confirmations,
        new_message: str,
        backlog: int,
        stuck_s: float,
    ) -> None:
        super().__init__("/")
        self._admission = admission
        self._acks = acks
        self._rooms = rooms
        self._telemetry = telemetry
        self._confirmations = confirmations
        self._backlog = backlog
        self._stuck_s = stuck_s
        self._encoder = Encoder({"new_message": new_message})
        self._devices: dict[str, SocketDevice] = {}
        self._guests: dict[str, Guest[SocketDevice]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def trigger_event(self, event: object, *args: Any) -> Any:
        """Take whatever python-socketio brings: its own connect and disconnect, or a client's event."""
        sid = args[0]
        guest = self._guests.get(sid)
        if event == "connect" and guest is None:
            return await self._connect(sid, args[1], args[-1])
        if event == "disconnect" and not self.server.manager.is_connected(sid, "/"):
            return self._disconnect(sid)
        if guest is None:
            return None
        if guest.admitted.over:  # it is being sent away: what it goes on sending waits where it costs nothing
            await asyncio.sleep(GOODBYE_S)
            return None
        return await self._acks.answer(guest, event, *args[1:])

    @property
    def devices(self) -> Mapping[str, SocketDevice]:
        """The connected devices, each under its sid."""
        return self._devices

    async def close(self) -> None:
        """Look after no device any more: all are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def is_of(self, eio_sid: str, authorization: str) -> bool:
        """Return whether an Authorization header is that of the user whose device this is."""
        guest = self._guests.get(self.server.manager.sid_from_eio_sid(eio_sid, "/"))
        return guest is not None and await self._admission.is_of(guest.admitted, bearer(authorization))

    async def _connect(self, sid: str, environ: Mapping[str, Any], auth: object) -> None:
        try:
            await self._admit(sid, environ, auth)
        except RequestError as error:
            raise self._refused(error) from error
        except Exception as fault:
            self._telemetry.fault(fault)
            raise self._refused(RequestError("internal", "unable to connect; the bridge failed")) from fault

    def _refused(self, error: RequestError) -> socketio.exceptions.ConnectionRefusedError:
        self._telemetry.refused("connection", error.code)
        why = {"code": error.code, "retryable": error.retryable}
        return socketio.exceptions.ConnectionRefusedError(str(error), why)

    async def _admit(self, sid: str, environ: Mapping[str, Any], auth: object) -> None:
        said = auth if isinstance(auth, dict) else {}
        streaming, token = said.get("streaming"), said.get("token")
        if streaming is not None and not isinstance(streaming, bool):
            raise RequestError("bad_auth", "auth.streaming must be true or false")
        if token is not None and not isinstance(token, str):
            raise RequestError("bad_auth", "auth.token must be a string")
        socket = self.server.eio.sockets[self.server.manager.eio_sid_from_sid(sid, "/")]
        token = token or bearer(environ.get("HTTP_AUTHORIZATION"))
        admitted = await self._admission.admit(token, lambda code, room_id: self._ended(sid, code, room_id))
        if socket.closed or socket.closing:  # meanwhile
            admitted.close()
            raise RequestError("unauthorized", "unable to connect; the connection is gone")
        device = self._device(socket, sid=sid, user=admitted.identity.user, streaming=streaming)
        self._devices[sid] = device
        self._guests[sid] = Guest(device, admitted)

    def _device(self, socket: Any, **known: Any) -> SocketDevice:
        made: dict[str, Any] = {
            **known,
            "backlog": self._backlog,
            "lagged": lambda device: self._see_to(self._follow(device)),
            "overflowed": lambda device: self._see_to(self._cut_off(device)),
        }
        if self._confirmations.chosen(known["sid"]):
            return ConfirmingDevice(socket, self._encoder, confirmations=self._confirmations, **made)
        return SocketDevice(socket, self._encoder, **made)

    def _disconnect(self, sid: str) -> None:
        self._devices.pop(sid, None)
        self._confirmations.gone(sid)
        guest = self._guests.pop(sid, None)
        if guest is not None:
            guest.admitted.close()
            self._rooms.gone(guest.device)

    def _ended(self, sid: str, code: RequestCode, room_id: Id | None) -> None:
        """Let a device out of a room, or send it away, and tell it why."""
        guest = self._guests.get(sid)
        if guest is None:
            return
        if room_id is not None:
            self._rooms.leave(guest.device, room_id)
            self._see_to(self.emit("access_ended", {"code": code, "roomId": room_id}, to=sid))
        else:
            self._rooms.gone(guest.device)
            self._see_to(self._send_away(sid, guest.device, code))

    async def _send_away(self, sid: str, device: SocketDevice, code: RequestCode) -> None:
        await self.emit("access_ended", {"code": code}, to=sid)
        await asyncio.sleep(GOODBYE_S)
        await self.server.cut_off(device.socket.sid)

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
        await self.server.cut_off(device.socket.sid)
