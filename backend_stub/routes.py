"""The routes, and how a refusal is told."""

import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from backend_stub.calls import CallDesk
from backend_stub.errors import HistoryError, Refused
from backend_stub.history import History
from backend_stub.tally import Tally

BODY_LIMIT_BYTES = 1024 * 1024
"""The longest body that is read."""

_PAGE_LIMIT = 200
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(desk: CallDesk, history: History, tally: Tally) -> web.Application:
    """Return the application that serves everything."""
    app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[_tell_refusals])

    async def room(request: web.Request) -> web.Response:
        return await _room(request, history)

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(tally.told())

    app.router.add_post("/chat/messages/stream", desk.stream)
    app.router.add_post("/chat/messages", desk.complete)
    app.router.add_get("/chat/rooms/{roomId}/messages", room)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/stats", stats)
    return app


@web.middleware
async def _tell_refusals(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return _refusal(refused.status, refused.code, str(refused))
    except HistoryError as error:
        return _refusal(503, "history_unavailable", str(error))
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - the first status that is a refusal
            raise
        response = _refusal(error.status, _CODES.get(error.status, "refused"), error.reason)
        response.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        return response


def _refusal(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"ok": True})


async def _room(request: web.Request, history: History) -> web.Response:
    limit = _whole(request, "limit", 1, _PAGE_LIMIT)
    before = _whole(request, "before", 0, 2**63 - 1)
    page = await history.page(request.match_info["roomId"], limit=limit or 50, before=before)
    told = {"messages": [message.told() for message in page.messages], "next": page.before}
    return web.Response(text=json.dumps(told, ensure_ascii=False), content_type="application/json")


def _whole(request: web.Request, name: str, low: int, high: int) -> int | None:
    said = request.query.get(name)
    if said is None:
        return None
    fits = said.isascii() and said.isdecimal() and len(said) <= len(str(high)) and low <= int(said) <= high
    if not fits:
        raise Refused(400, "bad_request", f"unable to use {name}; it must be a number from {low} to {high}")
    return int(said)
