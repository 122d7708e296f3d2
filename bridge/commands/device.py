"""A real Socket.IO client in one room, as an application has it: after a cut it comes back and resumes."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import engineio
import socketio

from bridge.errors import BridgeError
from bridge.events import Id
from bridge.settings import Settings

CONNECT_S = 10.0
ACK_S = 10.0
FIRST_BACK_S = 0.5
BACK_WITHIN_S = 5.0
"""The first and the longest wait before an attempt to come back."""

Hear = Callable[[str, dict[str, Any]], None]
_FAULTS = (
    socketio.exceptions.SocketIOError,
    engineio.exceptions.EngineIOError,
    aiohttp.ClientError,
    TimeoutError,
    OSError,
    ValueError,
)
_SILENCE = {"code": "no_ack", "message": "the bridge did not answer in time"}


class DeviceRefused(BridgeError):
    """The bridge cannot be reached, or does not let the device in."""


class Device:
    """Joins ``room_id`` and tells ``hear`` whatever the room hears, under the names of the wire contract.

    An answer that could not be resumed is told as ``lost``, with its ``messageId``.
    ``lost`` is told why when the connection is lost; it comes back by itself until `leave`.
    """

    def __init__(
        self,
        settings: Settings,
        room_id: Id,
        hear: Hear,
        *,
        token: str = "",
        lost: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.reconnects = 0
        self._settings = settings
        self._room_id = room_id
        self._hear = hear
        self._lost = lost
        self._auth = {"streaming": True, **({"token": token} if token else {})}
        self._seqs: dict[str, int] = {}
        self._here, self._gone = asyncio.Event(), asyncio.Event()
        self._refused = ""
        self._staying: asyncio.Task[None] | None = None
        self._http = aiohttp.ClientSession()  # python-engineio does not close its own when it cannot connect
        self._client = self._new_client()

    async def join(self, address: str) -> None:
        """Connect and join. Raises `DeviceRefused`."""
        await self._enter(address)
        self._staying = asyncio.create_task(self._stay(address), name="device")

    async def send(self, request: dict[str, Any]) -> str:
        """Send a message; return the code of its refusal (``no_ack``: silence), empty where it was taken.

        While the connection is being repaired it waits, as Socket.IO clients do.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ACK_S):
                await self._here.wait()
        refusal = await self._call(self._settings.send_event, {"roomId": self._room_id, **request})
        return str(refusal.get("code")) if refusal else ""

    async def leave(self) -> None:
        """Disconnect, for good."""
        if self._staying is not None:
            self._staying.cancel()
            await asyncio.gather(self._staying, return_exceptions=True)
        await self._client.shutdown()
        await self._http.close()

    def _new_client(self) -> Any:
        client = socketio.AsyncClient(
            http_session=self._http,
            handle_sigint=False,  # the command decides what Ctrl-C means
            reconnection=False,  # python-socketio's stays away when a server that goes down closes in order
        )
        client.on("connect_error", self._refuse)
        client.on("disconnect", self._cut_off)
        client.on("*", self._take)
        return client

    async def _enter(self, address: str) -> None:
        self._gone.clear()
        self._refused = ""
        self._client = self._new_client()
        try:
            await self._client.connect(
                address, auth=self._auth, transports=["websocket"], wait_timeout=CONNECT_S
            )
        except _FAULTS as exc:
            why = self._refused or f"no bridge answers ({type(exc).__name__})"
            raise DeviceRefused(f"unable to connect to {address}; {why}") from exc
        if refusal := await self._join():
            await self._client.shutdown()
            raise DeviceRefused(f"unable to join the room; {refusal.get('message')}")
        if not self._gone.is_set():
            self._here.set()

    async def _stay(self, address: str) -> None:
        """Come back whenever the connection is lost."""
        while True:
            await self._gone.wait()
            self._lost("")
            await self._come_back(address)
            self.reconnects += 1

    async def _come_back(self, address: str) -> None:
        wait_s, told = FIRST_BACK_S, ""
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311  (spread, no secret)
            try:
                return await self._enter(address)
            except DeviceRefused as error:
                wait_s = min(2 * wait_s, BACK_WITHIN_S)
                if str(error) != told:
                    told = str(error)
                    self._lost(told)

    async def _join(self) -> dict[str, Any]:
        joining = {"roomId": self._room_id, "resume": dict(self._seqs)}
        return await self._call(self._settings.join_event, joining)

    async def _call(self, event: str, data: dict[str, Any]) -> dict[str, Any]:
        """Return the error of the ack, empty where there is none."""
        try:
            ack = await self._client.call(event, data, timeout=ACK_S)
        except _FAULTS:
            return _SILENCE
        if not isinstance(ack, dict):
            return _SILENCE
        for message_id in ack.get("lost", ()):
            self._seqs.pop(str(message_id), None)
            self._hear("lost", {"messageId": message_id})
        return {} if ack.get("ok") else ack.get("error") or _SILENCE

    def _cut_off(self, _why: str) -> None:
        self._here.clear()
        self._gone.set()

    def _refuse(self, why: object = None) -> None:
        message = why.get("message") if isinstance(why, dict) else None
        self._refused = str(message or "")

    def _take(self, name: str, data: object = None) -> None:
        if isinstance(data, dict):
            name = "new_message" if name == self._settings.new_message_event else name
            self._note(name, data)
            self._hear(name, data)

    def _note(self, name: str, data: dict[str, Any]) -> None:
        """Know how far each answer under way was heard."""
        message_id = str(data.get("messageId"))
        match name:
            case "ai_message_start":
                self._seqs.setdefault(message_id, 0)
            case "ai_message_chunk":
                self._seqs[message_id] = max(self._seqs.get(message_id, 0), int(data["seq"]))
            case "ai_message_end":
                self._seqs.pop(message_id, None)
