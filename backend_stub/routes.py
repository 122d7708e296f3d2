"""The routes, each with the wire format that it speaks."""

import json

from aiohttp import web

from backend_stub import catalogue
from backend_stub.calls import CallDesk
from backend_stub.errors import Refused
from backend_stub.history import History
from backend_stub.refusals import tell_refusals
from backend_stub.subscriptions import Subscriptions
from backend_stub.tally import Tally
from backend_stub.wires.anthropic import Anthropic
from backend_stub.wires.chat_completions import ChatCompletions
from backend_stub.wires.conversation import Conversation
from backend_stub.wires.responses import Responses
from backend_stub.wires.role_delta import RoleDelta
from backend_stub.wires.stream_event import StreamEvent
from backend_stub.wires.ui_message import UiMessage
from backend_stub.wires.use_chat import UseChat

BODY_LIMIT_BYTES = 1024 * 1024
"""The longest body that is read."""

_PAGE_LIMIT = 200


def application(desk: CallDesk, history: History, tally: Tally) -> web.Application:
    """Return the application that serves everything."""
    app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[tell_refusals])

    async def room(request: web.Request) -> web.Response:
        return await _room(request, history)

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(tally.told())

    app.add_routes(_answering(desk))
    app.add_routes(_subscribing(desk, history))
    app.router.add_get("/v1/models", catalogue.models)
    app.router.add_get("/v1/models/{model}", catalogue.model)
    app.router.add_get("/chat/rooms/{roomId}/messages", room)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/stats", stats)
    return app


def _answering(desk: CallDesk) -> list[web.RouteDef]:
    return [
        web.post("/chat/messages/stream", desk.streaming(UiMessage)),
        web.post("/chat/messages", desk.completing(UiMessage)),
        web.post("/api/v1/chat", desk.streaming(UseChat)),
        web.post("/api/v1/chat/complete", desk.completing(UseChat)),
        web.post("/stream/", desk.streaming(RoleDelta)),
        web.post("/messages/", desk.completing(RoleDelta)),
        web.post("/api/chat", desk.streaming(Conversation)),
        web.post("/api/chat/{conversationId}", desk.streaming(Conversation)),
        web.post("/api/trpc/chat.sendMessage", desk.completing(StreamEvent)),
        web.post("/v1/chat/completions", desk.choosing(ChatCompletions)),
        web.post("/v1/responses", desk.choosing(Responses)),
        web.post("/v1/messages", desk.choosing(Anthropic)),
    ]


def _subscribing(desk: CallDesk, history: History) -> list[web.RouteDef]:
    subscriptions = Subscriptions(desk, history)
    return [
        web.post("/api/trpc/chat.initiateChat", subscriptions.initiate),
        web.get("/api/trpc/chat.streamResponse", subscriptions.stream, allow_head=False),
    ]


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"ok": True})


async def _room(request: web.Request, history: History) -> web.Response:
    limit = _whole(request, "limit", 1, _PAGE_LIMIT)
    before = _whole(request, "before", 0, 2**63 - 1)
    page = await history.page(request.match_info["roomId"], limit=limit or 50, before=before)
    rows = [message.told() | {"status": message.status} for message in page.messages]
    told = {"messages": rows, "next": page.before}
    return web.Response(text=json.dumps(told, ensure_ascii=False), content_type="application/json")


def _whole(request: web.Request, name: str, low: int, high: int) -> int | None:
    said = request.query.get(name)
    if said is None:
        return None
    fits = said.isascii() and said.isdecimal() and len(said) <= len(str(high)) and low <= int(said) <= high
    if not fits:
        raise Refused(400, "bad_request", f"unable to use {name}; it must be a number from {low} to {high}")
    return int(said)
