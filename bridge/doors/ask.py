"""The door for one question and its answer over HTTP, as a FastAPI chat of before has it.

``POST /stream/`` answers as it grows: the user's own text first, then ``{role, delta}`` of the assistant,
then ``[DONE]``; a failure is ``event: error`` before it. While the flag is off that is 404 and points to
``POST /messages/``, which always works and answers the complete message as JSON. Other devices of the room
hear either as any other turn.
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bridge.errors import RequestError
from bridge.event_stream import KEEP_ALIVE, EventStream, event, json_line
from bridge.failures import failure
from bridge.gate import Gate
from bridge.guest import Visitor
from bridge.http_wire import body_of, refusal
from bridge.messages import Message, MessageChunk, MessageEnd, NewMessage, payload
from bridge.own_turn import OwnTurn, OwnTurns
from bridge.ports import Flag
from bridge.requests import Send, parse_send

_SILENT = "unable to get an answer; the backend failed"
_GOING = "this node is going down, ask again with the same request_id"
_ELSE = {"Link": '</messages/>; rel="alternate"'}
_OUR_NAMES = {"chat_id": "roomId", "request_id": "requestId"}


class AskDoor:
    """``/stream/`` and ``/messages/``; a room is named ``chat_id`` or ``roomId``."""

    def __init__(
        self, *, turns: OwnTurns, flag: Flag, gate: Gate, content_limit_bytes: int, stuck_s: float
    ) -> None:
        self._turns = turns
        self._flag = flag
        self._gate = gate
        self._origins = gate.origins
        self._content_limit_bytes = content_limit_bytes
        self._stuck_s = stuck_s

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [
            web.post("/stream/", self._stream),
            web.post("/messages/", self._complete),
            web.options("/stream/", self._origins.preflight),
            web.options("/messages/", self._origins.preflight),
        ]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        headers = self._origins.headers(request)
        try:
            async with self._gate.visit(request) as visitor:
                send = await self._send(request, visitor)
                if not await self._flag.streaming(send.room_id, visitor.admitted.identity.user):
                    why = "streaming is off; POST /messages/ answers the complete message"
                    raise RequestError("streaming_off", f"unable to stream; {why}")
                stream = EventStream(request, headers, stuck_s=self._stuck_s)
                async with self._turns.ask(visitor, send, streaming=True, cut_off=stream.cut) as turn:
                    return await _tell(stream, turn, send.content)
        except RequestError as refused:
            return refusal(refused, {**headers, **(_ELSE if refused.code == "streaming_off" else {})})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        headers = self._origins.headers(request)
        try:
            async with self._gate.visit(request) as visitor:
                send = await self._send(request, visitor)
                async with self._turns.ask(visitor, send, streaming=None, cut_off=_nothing) as turn:
                    heard = [message async for some in turn.messages() for message in some]
                if not (turn.over or turn.silent):
                    visitor.admitted.check_entered(send.room_id)
                    raise RequestError("draining", f"unable to wait for the answer; {_GOING}")
        except RequestError as refused:
            return refusal(refused, headers)
        end = next((said for said in heard if isinstance(said, MessageEnd)), None)
        answer = next(
            (said for said in heard if isinstance(said, NewMessage) and said.role == "assistant"), None
        )
        return _whole(end, answer, headers)

    async def _send(self, request: web.Request, visitor: Visitor) -> Send:
        body = await body_of(request)
        wire = {_OUR_NAMES.get(name, name): value for name, value in body.items()}
        send = parse_send(wire, content_limit_bytes=self._content_limit_bytes)
        await visitor.admitted.check(send.room_id)
        return send


def _whole(end: MessageEnd | None, answer: NewMessage | None, headers: Mapping[str, str]) -> web.Response:
    """Return the complete message; where it is none, the error, and what there is of the text."""
    reason = end.finish_reason if end is not None else "stop"
    told: dict[str, Any] = {}
    if answer is not None:
        told = {**payload(answer), "id": answer.message_id, "finishReason": reason}
    if end is not None and end.error is not None and reason != "length":
        code, why = end.error
        status = 504 if reason == "timeout" else 502
        wire = {"error": {"code": code, "message": why}, **({"message": told} if told else {})}
        return web.json_response(wire, status=status, headers=headers)
    if answer is None and end is None:
        return failure(502, "backend_failed", _SILENT, headers)
    if answer is None and end is not None:  # it ended of itself, without a word
        told = {**payload(end), "id": end.message_id}
    return web.json_response(told, headers=headers)


async def _tell(stream: EventStream, turn: OwnTurn, asked: str) -> web.StreamResponse:
    answer = _Answer()
    async with stream.breaking_off():
        await stream.begin(event(json_line({"role": "user", "delta": asked})))
        stream.grow_at_once(turn.device, answer.frames)
        async for heard in turn.messages():
            await stream.write(b"".join(map(answer.frames, heard)) or KEEP_ALIVE)
        if turn.over or turn.silent:
            failed = b"" if turn.over else _error("backend_failed", _SILENT)
            await stream.write(failed + event(b"[DONE]"))
        else:  # a clean end would show a part as the whole
            stream.cut()
    return stream.response


class _Answer:
    """The answer as role and delta."""

    def __init__(self) -> None:
        self._told = ""

    def frames(self, message: Message) -> bytes:
        """Return what ``message`` adds."""
        match message:
            case MessageChunk(delta=delta):
                return self._grow(delta)
            case NewMessage(role="assistant", content=content):
                return self._grow(content)
            case MessageEnd(content=content, error=error):
                goes_on = content.startswith(self._told)
                rest = self._grow(content[len(self._told) :]) if goes_on else b""
                return rest + (b"" if error is None else _error(*error))
            case _:
                return b""

    def _grow(self, delta: str) -> bytes:
        self._told += delta
        return event(json_line({"role": "assistant", "delta": delta})) if delta else b""


def _error(code: str, why: str) -> bytes:
    return event(json_line({"code": code, "message": why}), "error")


def _nothing() -> None:
    """Cut nobody off: nothing is written before the end."""
