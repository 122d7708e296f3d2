"""The plain WebSocket door: JSON frames ``{event, data, ack?}`` both ways, the names and data of Socket.IO.

A frame with ``ack``, an id of the client's choice, is answered ``{event: "ack", ack, data: {ok, ...}}``;
what is refused without one is told as ``{event: "error", data: {code, message}}``. The first frame may be
``auth`` with what a Socket.IO client says at connect; it must be where a token is asked for and the head
brought none. Who is refused is told so, and the connection closed. ``ping`` frames of the bridge show a
page, which cannot see those of the protocol, that the way is open.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from bridge.acks import Ack, Acks
from bridge.connections import Connections
from bridge.errors import RequestCode, RequestError
from bridge.event_stream import json_line
from bridge.events import Id, valid_id
from bridge.failures import failure
from bridge.gate import Gate
from bridge.guest import Guest, Visitor
from bridge.http_wire import refusal, write_at_once
from bridge.messages import Message, event_name, payload
from bridge.queued_device import QueuedDevice

FRAME_LIMIT_BYTES = 2 * 1024 * 1024
"""A frame below this is answered with an error code if it is too large; above it the connection ends."""
CLOSE_S = 1.0
"""How long a client may take to close its side."""
_NO_HANDSHAKE = "unable to answer; only websockets are served here"
PING = b'{"event":"ping","data":{}}'


@dataclass(frozen=True, slots=True)
class Frame:
    """What a client sent."""

    event: str
    data: object
    ack: Id | None


class Encoder:
    """Makes the frame of a message once, however many devices hear it in a row; ``names`` renames events."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._message: Message | None = None
        self._frame = b""

    def frame(self, message: Message) -> bytes:
        """Return the frame of ``message``."""
        if message is not self._message:
            name = event_name(message)
            self._frame = json_line({"event": self._names.get(name, name), "data": payload(message)})
            self._message = message
        return self._frame


class WebSocketDoor:
    """``GET /api/v1/chat/ws``; ``new_message`` is the name the clients know that event by."""

    def __init__(
        self,
        *,
        acks: Acks,
        connections: Connections,
        gate: Gate,
        new_message: str,
        handshake_s: float,
        ping_interval_s: float,
        ping_timeout_s: float,
        stuck_s: float,
    ) -> None:
        self._acks = acks
        self._connections = connections
        self._gate = gate
        self._encoder = Encoder({"new_message": new_message})
        self._handshake_s = handshake_s
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = ping_timeout_s
        self._stuck_s = stuck_s

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.get("/api/v1/chat/ws", self._serve, allow_head=False)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(max_msg_size=FRAME_LIMIT_BYTES, compress=False, timeout=CLOSE_S)
        try:
            with self._gate.arrived(request) as token:
                async with contextlib.AsyncExitStack() as held:
                    visitor = await self._known(held, token)
                    if not _shakes_hands(ws, request):
                        return failure(426, "no_websocket", _NO_HANDSHAKE, {"Upgrade": "websocket"})
                    await ws.prepare(request)
                    first: Frame | None = None
                    if visitor is None:
                        visitor, first = await self._introduced(held, ws)
                    if visitor is not None:
                        await self._converse(request, ws, visitor, first)
                    return ws
        except RequestError as error:
            return refusal(error)

    async def _known(self, held: contextlib.AsyncExitStack, token: str | None) -> Visitor | None:
        """Admit who shows the token of its head, or needs none; None: its first frame has to show one."""
        try:
            return await held.enter_async_context(self._gate.admitted(token))
        except RequestError as error:
            if token is None and error.code == "unauthorized":
                return None
            raise

    async def _introduced(
        self, held: contextlib.AsyncExitStack, ws: web.WebSocketResponse
    ) -> tuple[Visitor | None, Frame | None]:
        """Admit who shows a token in its first frame; tell whom that is refused, and close."""
        first: Frame | None = None
        try:
            first = _frame(await ws.receive(self._handshake_s))
            return await held.enter_async_context(self._gate.admitted(_token_of(first))), first
        except TimeoutError:
            error = RequestError("unauthorized", "unable to let the device in; no token came")
            ack = self._acks.refuse("connection", error)
        except RequestError as refused:
            ack = self._acks.refuse("connection", refused)
        with contextlib.suppress(ConnectionError):
            await ws.send_frame(_answer(first.ack if first else None, ack), WSMsgType.TEXT)
            await ws.close(code=WSCloseCode.POLICY_VIOLATION)
        return None, None

    async def _converse(
        self, request: web.Request, ws: web.WebSocketResponse, visitor: Visitor, first: Frame | None
    ) -> None:
        send = partial(ws.send_frame, opcode=WSMsgType.TEXT)
        with self._connections.open(
            visitor,
            self._encoder.frame,
            streaming=None,
            cut_off=lambda: _abort(request),
            parting=_parting,
            stays=True,
        ) as guest:
            guest.device.at_once = lambda frame: write_at_once(request, frame, send)
            writer = asyncio.create_task(self._write(ws, guest.device), name="websocket writer")
            try:
                if first is not None:
                    self._tell(guest, first.ack, self._acks.taken(_auth(guest, first.data, first=True)))
                await self._read(ws, guest, first=first is None)
            finally:
                guest.device.end()
                await asyncio.wait({writer}, timeout=CLOSE_S)
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)

    async def _read(
        self, ws: web.WebSocketResponse, guest: Guest[QueuedDevice[bytes]], *, first: bool
    ) -> None:
        """Take the client's frames in order, until it is gone or silent: a pong is a word of it too."""
        with contextlib.suppress(TimeoutError):
            while not guest.device.ended:
                message = await ws.receive(self._ping_interval_s + self._ping_timeout_s)
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    return
                await self._take(guest, message, first=first)
                first = False

    async def _take(self, guest: Guest[QueuedDevice[bytes]], message: WSMessage, *, first: bool) -> None:
        try:
            frame = _frame(message)
        except RequestError as error:
            self._tell(guest, None, self._acks.counted(guest, error))
            return
        match frame.event:
            case "ping":
                ack = self._acks.counted(guest, None)
            case "auth":
                ack = self._acks.counted(guest, _auth(guest, frame.data, first=first))
            case _:
                ack = await self._acks.answer(guest, frame.event, frame.data)
        self._tell(guest, frame.ack, ack)

    def _tell(self, guest: Guest[QueuedDevice[bytes]], ack_id: Id | None, ack: Ack) -> None:
        if ack_id is not None or not ack["ok"]:
            guest.device.put(_answer(ack_id, ack))

    async def _write(self, ws: web.WebSocketResponse, device: QueuedDevice[bytes]) -> None:
        """Write what the device hears, and a ping when due, until it has ended; then close."""
        loop = asyncio.get_running_loop()
        ping_at_s = loop.time() + self._ping_interval_s
        frames: list[bytes] = []
        try:
            while frames or not device.ended:
                frames = await device.take(max(0.0, ping_at_s - loop.time()))
                async with asyncio.timeout(self._stuck_s):
                    for frame in frames:
                        await ws.send_frame(frame, WSMsgType.TEXT)
                    if loop.time() >= ping_at_s:
                        ping_at_s = loop.time() + self._ping_interval_s
                        await ws.ping()
                        await ws.send_frame(PING, WSMsgType.TEXT)
            await ws.close(code=WSCloseCode.GOING_AWAY)
        except ConnectionError:
            device.end()
        except TimeoutError:  # stuck
            device.cut()


def _shakes_hands(ws: web.WebSocketResponse, request: web.Request) -> bool:
    try:
        return ws.can_prepare(request).ok
    except web.HTTPException:
        return False


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _answer(ack_id: Id | None, ack: Ack) -> bytes:
    if ack_id is None:
        return json_line({"event": "error", "data": ack["error"]})
    return json_line({"event": "ack", "ack": ack_id, "data": ack})


def _parting(code: RequestCode, room_id: Id | None) -> bytes:
    of_room = {} if room_id is None else {"roomId": room_id}
    return json_line({"event": "access_ended", "data": {"code": code, **of_room}})


def _token_of(frame: Frame) -> str | None:
    """Return the token that a first frame shows. Raises `RequestError`."""
    said: Any = frame.data if frame.event == "auth" and isinstance(frame.data, dict) else {}
    token = said.get("token")
    if token is not None and not isinstance(token, str):
        raise RequestError("bad_auth", "unable to take the frame; its token must be a string")
    return token


def _auth(guest: Guest[QueuedDevice[bytes]], data: object, *, first: bool) -> RequestError | None:
    """Take what a first frame says; return why it cannot be taken."""
    said: Any = data.get("streaming") if isinstance(data, dict) else ""
    if not first or not (said is None or isinstance(said, bool)):
        why = "auth must come first, with streaming true, false or not at all"
        return RequestError("bad_auth", f"unable to take the frame; {why}")
    guest.device.streaming = said
    return None


def _frame(message: WSMessage) -> Frame:
    """Return what the client sent. Raises `RequestError`."""
    if message.type is not WSMsgType.TEXT:
        raise RequestError("binary_refused", "unable to take the frame; it holds binary data")
    try:
        wire = json.loads(message.data)
    except (ValueError, RecursionError) as exc:
        raise RequestError("not_an_object", "unable to take the frame; it is no JSON object") from exc
    if not isinstance(wire, dict):
        raise RequestError("not_an_object", "unable to take the frame; it is no JSON object")
    event, ack = wire.get("event"), wire.get("ack")
    if not isinstance(event, str):
        raise RequestError("missing_field", "unable to take the frame; event is missing")
    if not (ack is None or valid_id(ack)):
        raise RequestError("bad_id", "unable to take the frame; ack must be an id")
    return Frame(event, wire.get("data"), ack)
