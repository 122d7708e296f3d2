"""The two steps of tRPC: a mutation stores the prompt and names the answer, a subscription streams it."""

from dataclasses import replace

from aiohttp import web

from backend_stub.answers import question
from backend_stub.asks import Ask, needed_id, object_in
from backend_stub.calls import CallDesk
from backend_stub.errors import HistoryError, Refused
from backend_stub.history import History
from backend_stub.messages import Message
from backend_stub.wires.stream_event import StreamEvent, result


class Subscriptions:
    """Begins turns in the history and streams their answers from the desk."""

    def __init__(self, desk: CallDesk, history: History) -> None:
        self._desk = desk
        self._history = history

    async def initiate(self, request: web.Request) -> web.Response:
        """Store the prompt and its pending answer, and return their names; a repeated request keeps them."""
        ask = StreamEvent.read(await self._desk.post(request)).ask
        prompt = question(ask)
        await self._history.add(prompt)
        pending = replace(prompt, message_id=ask.message_id, role="assistant", content="", status="pending")
        await self._history.add(pending)
        prompt, answer = await self._turn(ask)
        named = {"assistantMessageId": answer.message_id, "userMessageId": prompt.message_id}
        return web.json_response(result(named))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Stream the answer that ``initiate`` named."""
        said = object_in(request.query.get("input", ""))
        room_id, message_id = needed_id(said, "projectId"), needed_id(said, "assistantMessageId")
        answer = await self._history.answer_named(str(room_id), message_id)
        if answer is None:
            raise Refused(404, "not_found", "unable to stream; the project has no such message")
        post = await self._desk.post(request)
        ask = post.ask(answer.room_id, "", request_id=answer.request_id, message_id=answer.message_id)
        prompt, _ = await self._turn(ask)
        wire = StreamEvent.subscribed(replace(ask, content=prompt.content), said)
        return await self._desk.stream(request, wire)

    async def _turn(self, ask: Ask) -> tuple[Message, Message]:
        prompt = await self._history.question(ask.room_id, ask.request_id)
        answer = await self._history.answer(ask.room_id, ask.request_id)
        if prompt is None or answer is None:
            raise HistoryError("unable to find the turn; it was not stored")
        return prompt, answer
