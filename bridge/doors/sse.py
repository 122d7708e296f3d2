"""The door for a native EventSource: ``GET /chat/rooms/{roomId}/stream`` is a device of the room.

Each message is one event under its Socket.IO name. The id says how far the device has heard, so any node
goes on behind ``Last-Event-ID`` (WHATWG HTML, 9.2). What such a device wants to say it posts to
``/chat/events`` as ``{event, data}``, and is answered with the ack.

Such a client can send no header: a token may stand in the query of this path, and of no other. Once it has
expired the stream ends, and the same address is refused, on which an EventSource gives up: the page opens a
new one with a fresh token, and with ``lastEventId`` in its query.
"""

from collections.abc import Callable

from aiohttp import web

from bridge.acks import Ack, Acks, EventNames
from bridge.connections import Connections
from bridge.errors import RequestCode, RequestError
from bridge.event_stream import EventStream, event, json_line
from bridge.events import Id
from bridge.gate import Gate
from bridge.guest import Guest, Visitor
from bridge.http_wire import body_of, refusal, status_of
from bridge.messages import Message, NewMessage, event_name, payload
from bridge.positions import Positions
from bridge.queued_device import QueuedDevice
from bridge.requests import parse_leave, rooms_named
from bridge.rooms import Rooms
from bridge.transcript import Applied

RETRY_MS = 500
"""A client comes back after once to three times as long, so that not all come at one moment."""
IN_QUERY = "access_token"
"""Where a native EventSource, which can send no header, shows its token: in its query (RFC 6750, 2.3)."""
_STREAMING = {None: None, "": None, "true": True, "false": False}


class RoomEvents:
    """What one EventSource lacks of its rooms behind ``last_event_id``, as events with ids."""

    def __init__(self, last_event_id: str, *, streaming: bool | None, new_message: str) -> None:
        self.positions = Positions(last_event_id, complete_follows=streaming is None)
        self.gap = False
        """True once something was missing: the client has to come back and resume."""
        self.streaming = streaming
        self._new_message = new_message

    def event(self, message: Message) -> bytes | None:
        """Return ``message`` as an event, None where the client has it or cannot use it."""
        applied = self.positions.take(message)
        self.gap = self.gap or applied is Applied.GAP
        if applied is not Applied.APPLIED or self.gap:
            return None
        name = self._new_message if isinstance(message, NewMessage) else event_name(message)
        return event(json_line(payload(message)), name, str(self.positions))


class SseDoor:
    """``jitter`` gives a number in [0, 1) that spreads the reconnections."""

    def __init__(
        self,
        *,
        acks: Acks,
        rooms: Rooms,
        connections: Connections,
        gate: Gate,
        names: EventNames,
        jitter: Callable[[], float],
        stuck_s: float,
    ) -> None:
        self._acks = acks
        self._rooms = rooms
        self._connections = connections
        self._gate = gate
        self._origins = gate.origins
        self._names = names
        self._jitter = jitter
        self._stuck_s = stuck_s

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [
            web.get("/chat/rooms/{roomId}/stream", self._stream, allow_head=False),
            web.options("/chat/rooms/{roomId}/stream", self._origins.preflight),
            web.post("/chat/events", self._say),
            web.options("/chat/events", self._origins.preflight),
        ]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        headers = self._origins.headers(request)
        try:
            async with self._gate.visit(request, request.query.get(IN_QUERY)) as visitor:
                rooms, streaming = rooms_named(request.match_info["roomId"]), _streaming(request)
                last_event_id = request.headers.get("Last-Event-ID", request.query.get("lastEventId", ""))
                events = RoomEvents(last_event_id, streaming=streaming, new_message=self._names.new_message)
                stream = EventStream(request, headers, stuck_s=self._stuck_s)
                return await self._tell(stream, events, visitor, await visitor.allowed(rooms))
        except RequestError as refused:
            return refusal(refused, headers)

    async def _tell(
        self, stream: EventStream, events: RoomEvents, visitor: Visitor, rooms: list[Id]
    ) -> web.StreamResponse:
        def made(message: Message) -> bytes | None:
            told = events.event(message)
            if events.gap:
                guest.device.end()
            return told

        with self._connections.open(
            visitor, made, streaming=events.streaming, cut_off=stream.cut, parting=_parting
        ) as guest:
            lost = await self._join(guest, events.positions, rooms)
            async with stream.breaking_off():
                await stream.begin(f"retry: {int(RETRY_MS * (1 + 2 * self._jitter()))}\n\n".encode() + lost)
                await stream.tell(guest.device)
        return stream.response

    async def _join(self, guest: Guest[QueuedDevice[bytes]], positions: Positions, rooms: list[Id]) -> bytes:
        """Join; return an event that says which messages can no longer be resumed, if there are any."""
        resume = dict(positions.resume)
        lost = set(resume)
        for room_id in rooms:
            joined = await guest.enter(self._rooms, room_id, resume)
            running = {str(turn.message_id) for turn in joined.active}
            lost &= set(map(str, joined.lost)) - running
        if not lost:
            return b""
        positions.forget(lost)
        why = {"code": "unknown_message", "message": "unable to go on; these messages are no longer known"}
        return event(json_line({**why, "lost": sorted(lost)}), "error")

    async def _say(self, request: web.Request) -> web.StreamResponse:
        """Do what a device of a room asks that hears by another way."""
        headers = self._origins.headers(request)
        try:
            async with self._gate.visit(request) as visitor:
                ack = await self._done(visitor, await body_of(request))
            status = 200 if ack["ok"] else status_of(ack["error"]["code"])
            return web.json_response(ack, status=status, headers=headers)
        except RequestError as refused:
            return refusal(refused, headers)

    async def _done(self, visitor: Visitor, body: dict[str, object]) -> Ack:
        asked, data = body.get("event"), body.get("data")
        if asked not in (self._names.send, "stop_message"):
            raise RequestError("unknown_event", "unable to take the event; only a send or a stop is posted")
        with self._connections.open(visitor, _nothing, streaming=False, cut_off=_nobody) as guest:
            await guest.enter(self._rooms, parse_leave(data).room_id, {})
            return await self._acks.answer(guest, asked, data)


def _parting(code: RequestCode, room_id: Id | None) -> bytes:
    """Say why no more comes: the client comes back, and is refused."""
    of_room = {} if room_id is None else {"roomId": room_id}
    return event(json_line({"code": code, **of_room}), "access_ended")


def _streaming(request: web.Request) -> bool | None:
    said = request.query.get("streaming")
    if said not in _STREAMING:
        raise RequestError("bad_auth", "unable to join; streaming must be true or false")
    return _STREAMING[said]


def _nothing(_: Message) -> bytes | None:
    """Make nothing of a message: who posts hears by another way."""
    return None


def _nobody() -> None:
    """Cut nobody off: nothing waits for who posts."""
