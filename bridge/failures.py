"""What is answered over HTTP in the place of an answer: ``{error: {code, message}}``, whoever refuses.

aiohttp's own refusals, of a path that is not there or a method that is not served, are made so too.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

JSON = "application/json"
CODE = web.ResponseKey("code", str)
"""Where a response keeps the code of its error."""
SERVER = "bridge"
"""Who answers; which library it is, in which version, is nobody's business."""
_BACKENDS = frozenset({502, 504})
"""Statuses that tell of the backend, not of the asker."""
_OWN_WORDS = {
    404: ("not_found", "unable to answer; the bridge has no such path"),
    405: ("bad_method", "unable to answer; the path is not for this method"),
    413: ("body_too_large", "unable to take the request; its body is too large"),
}
_BAD_REQUEST = ("bad_request", "unable to take the request; it is not HTTP as it should be")


def failure(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return the response ``{error: {code, message}}``."""
    response = web.Response(status=status, headers=headers, **said(code, message))
    response[CODE] = code
    return response


def said(code: str, message: str) -> dict[str, Any]:
    """Return what makes a response of aiohttp, of whatever kind, that error."""
    return {"text": json.dumps({"error": {"code": code, "message": message}}), "content_type": JSON}


def last(refusal: web.Response) -> web.Response:
    """Return ``refusal`` as the last answer of its connection, complete without an application."""
    refusal.headers["Server"] = SERVER
    refusal.force_close()
    return refusal


@web.middleware
async def as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Say what aiohttp refuses by itself as the doors say it."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        if refusal.status < web.HTTPBadRequest.status_code or refusal.content_type == JSON:
            raise
        code, message = _OWN_WORDS.get(refusal.status, _BAD_REQUEST)
        allow = {name: refusal.headers[name] for name in ("Allow",) if name in refusal.headers}
        return failure(refusal.status, code, message, allow)


def counted(refused: Callable[[str], None]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return what lets ``refused`` hear the code of each refusal; for ``on_response_prepare``."""

    async def prepared(_: web.Request, response: web.StreamResponse) -> None:
        code = response.get(CODE)
        if code is not None and response.status not in _BACKENDS:
            refused(code)

    return prepared
