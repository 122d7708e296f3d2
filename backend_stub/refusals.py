"""How a refusal is told: as JSON, in the words of the API that was called."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from backend_stub.errors import HistoryError, Refused
from backend_stub.wires import anthropic, openai, stream_event
from backend_stub.wires.base import Json

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_HEADERS = ("Allow",)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Teller = Callable[[int, str, str], Json]


def _plain(_: int, code: str, message: str) -> Json:
    return {"error": {"code": code, "message": message}}


_TELLERS: dict[str, _Teller] = {
    "/v1/messages": anthropic.refusal,
    "/v1/": openai.refusal,
    "/api/trpc/": stream_event.refusal,
    "/": _plain,
}


@web.middleware
async def tell_refusals(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Give the caller of ``handler`` each refusal as JSON."""
    try:
        return await handler(request)
    except Refused as refused:
        return _told(request, refused.status, refused.code, str(refused))
    except HistoryError as error:
        return _told(request, 503, "history_unavailable", str(error))
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - the first status that is a refusal
            raise
        response = _told(request, error.status, _CODES.get(error.status, "refused"), error.reason)
        response.headers.update({name: error.headers[name] for name in _HEADERS if name in error.headers})
        return response


def _told(request: web.Request, status: int, code: str, message: str) -> web.Response:
    tell = next(teller for prefix, teller in _TELLERS.items() if request.path.startswith(prefix))
    response = web.json_response(tell(status, code, message), status=status)
    if status == 429:  # noqa: PLR2004 - too many requests
        response.headers["Retry-After"] = "1"
    return response
