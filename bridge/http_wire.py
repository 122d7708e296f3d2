"""What the doors over plain HTTP share: who may ask, bodies, refusals."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from bridge.errors import RequestError
from bridge.failures import failure
from bridge.origins import Origins
from bridge.requests import check_values

BODY_LIMIT_BYTES = 2 * 1024 * 1024
"""A history of messages may come with a send; of it only the last is taken."""
BODY_S = 10.0
"""How long a body may take to come."""
AT_ONCE_BYTES = 16384
"""While less than this waits to be sent, far below where aiohttp makes writers wait, no write has to wait."""
_STATUS: dict[str, int] = {
    "unauthorized": 401,
    "token_expired": 401,
    "not_joined": 403,
    "not_a_member": 403,
    "too_many_rooms": 403,
    "bad_origin": 403,
    "unknown_message": 404,
    "streaming_off": 404,
    "request_id_conflict": 409,
    "content_too_large": 413,
    "bad_type": 415,
    "busy": 429,
    "rate_limited": 429,
    "too_many_connections": 429,
    "internal": 500,
    "draining": 503,
    "auth_unavailable": 503,
    "membership_unknown": 503,
}


def status_of(code: str) -> int:
    """Return the HTTP status of a refusal."""
    return _STATUS.get(code, 400)


def refusal(refused: RequestError, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return the response to what was refused; what may be tried again says when."""
    status = status_of(refused.code)
    told = {"Retry-After": "1"} if status in (429, 503) else {}
    if status == 401:  # noqa: PLR2004
        told = {"WWW-Authenticate": "Bearer"}  # RFC 6750, 3
    return failure(status, refused.code, str(refused), {**told, **(headers or {})})


class CrossSite:
    """Lets pages of other sites ask, those that ``origins`` allows (WHATWG Fetch, 3.2)."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def check(self, request: web.Request) -> None:
        """Raise `RequestError` ``bad_origin`` where the page may not ask."""
        if not self._allows(request):
            raise RequestError("bad_origin", "unable to answer; pages of that origin may not ask")

    def headers(self, request: web.Request) -> dict[str, str]:
        """Return what lets a page of another site read the response, if it may."""
        origin = request.headers.get("Origin")
        if origin is None or urlsplit(origin).netloc == request.host or not self._allows(request):
            return {}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def _allows(self, request: web.Request) -> bool:
        return self._origins.allow(request.headers.get("Origin"), request.host)

    async def preflight(self, request: web.Request) -> web.Response:
        """Answer a browser that asks whether it may ask."""
        try:
            self.check(request)
        except RequestError as refused:
            return refusal(refused)
        allow = {
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "authorization, content-type, idempotency-key, last-event-id",
            "Access-Control-Max-Age": "600",
        }
        return web.Response(status=204, headers={**allow, **self.headers(request)})


def write_at_once(
    request: web.Request, data: bytes, write: Callable[[bytes], Coroutine[Any, Any, None]]
) -> bool:
    """Have ``write`` send ``data`` now, if it need not wait; return whether it did."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return False
    if transport.get_write_buffer_size() + len(data) > AT_ONCE_BYTES:
        return False
    writing = write(data)
    try:
        writing.send(None)
    except StopIteration:
        return True
    except ConnectionError:
        return False
    finally:
        writing.close()
    return True  # it was written, and would have waited for room for more


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that ``request`` brings. Raises `RequestError`."""
    if request.content_type != "application/json":  # a form of another site cannot send this type
        raise RequestError("bad_type", "unable to read the body; send application/json")
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.content.read(BODY_LIMIT_BYTES + 1)
            while not request.content.at_eof() and len(raw) <= BODY_LIMIT_BYTES:
                raw += await request.content.readany()
        if len(raw) > BODY_LIMIT_BYTES:
            raise _too_large()
        body = json.loads(raw)
    except (ValueError, RecursionError, TimeoutError) as exc:
        raise RequestError("not_an_object", "unable to read the body; it is no JSON object") from exc
    if not isinstance(body, dict):
        raise RequestError("not_an_object", "unable to read the body; it is no JSON object")
    check_values([body])
    return body


def _too_large() -> RequestError:
    return RequestError("content_too_large", f"unable to read the body; it is over {BODY_LIMIT_BYTES} bytes")
