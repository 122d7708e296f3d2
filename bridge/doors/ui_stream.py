"""The AI SDK's door: ``useChat`` with its stock transport asks here, and finds a running answer again.

A chat is a room: ``POST /api/chat`` and ``POST /api/chat/{id}`` ask, ``GET /api/chat/{id}/stream`` goes on
with what runs, or begins within ``wait_s`` of the query (else 204), ``POST /api/chat/{id}/stop`` stops it.
The SDK itself cannot tell the server a stop from a lost connection; an answer goes on when its asker is gone,
so a stop is said. A stream that cannot be told to its end is broken off: a clean end would show a part as the
whole.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web

from bridge.errors import RequestError
from bridge.event_stream import KEEP_ALIVE, EventStream, event, json_line
from bridge.events import Id
from bridge.gate import Gate
from bridge.guest import Visitor
from bridge.http_wire import body_of, refusal
from bridge.own_turn import OwnTurn, OwnTurns
from bridge.relay import Relay
from bridge.requests import Send, parse_send, parse_wait, rooms_named
from bridge.ui_parts import Part, UiParts, sent_by_use_chat

_HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
GLANCE_S = 1.0
"""So often who waits is looked at: a client that is gone keeps no place."""
_SILENT = "unable to get an answer; the backend failed"


class UiStreamDoor:
    """``/api/chat``; ``new_id`` names conversations that have no name yet."""

    def __init__(
        self,
        *,
        turns: OwnTurns,
        relay: Relay,
        gate: Gate,
        new_id: Callable[[], str],
        content_limit_bytes: int,
        stuck_s: float,
    ) -> None:
        self._turns = turns
        self._relay = relay
        self._gate = gate
        self._origins = gate.origins
        self._new_id = new_id
        self._content_limit_bytes = content_limit_bytes
        self._stuck_s = stuck_s

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        chat = "/api/chat/{roomId}"
        return [
            web.post("/api/chat", self._begin),
            web.post(chat, self._go_on),
            web.get(f"{chat}/stream", self._resume, allow_head=False),
            web.post(f"{chat}/stop", self._stop),
            *(
                web.options(path, self._origins.preflight)
                for path in ("/api/chat", chat, f"{chat}/stream", f"{chat}/stop")
            ),
        ]

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        """Answer in a conversation that may be new: its name is told first."""
        try:
            async with self._gate.visit(request) as visitor:
                body = await body_of(request)
                send = self._send(body, self._new_id() if body.get("id") is None else body["id"])
                named = {"conversationId": send.room_id}
                first: list[Part] = [{"type": "data-conversation", "data": named, "transient": True}]
                return await self._answer(request, visitor, send, first)
        except RequestError as refused:
            return refusal(refused, self._origins.headers(request))

    async def _go_on(self, request: web.Request) -> web.StreamResponse:
        try:
            async with self._gate.visit(request) as visitor:
                body = await body_of(request)
                named, told = request.match_info["roomId"], body.get("id")
                send = self._send(body, told if str(told) == named else named)
                return await self._answer(request, visitor, send, [])
        except RequestError as refused:
            return refusal(refused, self._origins.headers(request))

    def _send(self, body: dict[str, object], room_id: object) -> Send:
        return parse_send(sent_by_use_chat(body, room_id), content_limit_bytes=self._content_limit_bytes)

    async def _answer(
        self, request: web.Request, visitor: Visitor, send: Send, first: list[Part]
    ) -> web.StreamResponse:
        stream = self._stream(request)
        async with self._turns.ask(visitor, send, streaming=True, cut_off=stream.cut) as turn:
            return await self._tell(stream, turn, first)

    async def _resume(self, request: web.Request) -> web.StreamResponse:
        """Tell the last running answer from its start on, as the SDK expects it; or wait for the next."""
        headers = self._origins.headers(request)
        try:
            async with self._gate.visit(request) as visitor:
                wait_s = parse_wait(request.query.get("wait_s", "0"))
                rooms, stream = await self._rooms(request, visitor), self._stream(request)
                async with self._turns.found(visitor, rooms, cut_off=stream.cut) as turn:
                    if not (await turn.find() or await _begun(turn, wait_s, stream)):
                        return web.Response(status=204, headers=headers)
                    return await self._tell(stream, turn, [])
        except RequestError as refused:
            return refusal(refused, headers)

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        headers = self._origins.headers(request)
        try:
            async with self._gate.visit(request) as visitor:
                rooms = await self._rooms(request, visitor)
                stopped = [each for room_id in rooms for each in await self._stop_in(visitor, room_id)]
                return web.json_response({"ok": True, "stopped": stopped}, headers=headers)
        except RequestError as refused:
            return refusal(refused, headers)

    async def _stop_in(self, visitor: Visitor, room_id: Id) -> list[Id]:
        async with self._turns.found(visitor, [room_id], cut_off=_nothing) as turn:
            running = await turn.find()
            for request_id in running:
                await self._relay.stop(turn.device, room_id, request_id=request_id)
            return running

    async def _rooms(self, request: web.Request, visitor: Visitor) -> list[Id]:
        return await visitor.allowed(rooms_named(request.match_info["roomId"]))

    def _stream(self, request: web.Request) -> EventStream:
        return EventStream(request, {**_HEADERS, **self._origins.headers(request)}, stuck_s=self._stuck_s)

    async def _tell(self, stream: EventStream, turn: OwnTurn, first: list[Part]) -> web.StreamResponse:
        ui = UiParts()
        async with stream.breaking_off():
            await stream.begin(_frames(first))
            stream.grow_at_once(turn.device, lambda message: _frames(ui.parts(message)))
            async for heard in turn.messages():
                parts = [part for message in heard for part in ui.parts(message)]
                await stream.write(_frames(parts) or KEEP_ALIVE)
            if turn.over or turn.silent:
                await stream.write(_frames([] if turn.over else ui.failed(_SILENT)) + event(b"[DONE]"))
            else:
                stream.cut()
        return stream.response


async def _begun(turn: OwnTurn, wait_s: float, stream: EventStream) -> bool:
    """Return whether an answer began within ``wait_s``, for a client that is still there."""
    now = asyncio.get_running_loop().time
    until_s = now() + wait_s
    while stream.wanted and not turn.device.ended and now() < until_s:
        if await turn.begun(min(GLANCE_S, until_s - now())):
            return True
    return False


def _nothing() -> None:
    """Cut nobody off: who stops does not listen."""


def _frames(parts: list[Part]) -> bytes:
    return b"".join(event(json_line(part)) for part in parts)
