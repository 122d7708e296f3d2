"""An answer of the backend on its way back: status, reason, headers and body as they came."""

from collections.abc import Sequence

import aiohttp
from aiohttp import web

from bridge.failures import SERVER
from bridge.headers import end_to_end

_ADDED = ("Date", "Server", "Content-Type")


class _Passed(web.StreamResponse):
    """An answer of the backend, piece by piece; ``unsaid`` is what aiohttp would say in its place."""

    unsaid: Sequence[str] = ()


class _PassedWhole(web.Response):
    """An answer of the backend of which all is there: it leaves at once, as it came."""

    unsaid: Sequence[str] = ()


async def as_it_came(_: web.Request, response: web.StreamResponse) -> None:
    """Take off an answer what aiohttp adds to any, so that its name and version stand in none.

    It is for ``on_response_prepare`` of an application.
    """
    if isinstance(response, _Passed | _PassedWhole):
        for name in response.unsaid:
            response.headers.popall(name, None)
    else:
        response.headers["Server"] = SERVER


async def give_back(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Answer ``request`` with ``answer``; where that is cut, so is what the caller gets."""
    headers, content = end_to_end(answer.raw_headers), answer.content
    response: _Passed | _PassedWhole
    if content.is_eof() and "Content-Length" in headers and request.method != "HEAD":
        body = content.read_nowait()
        response = _PassedWhole(status=answer.status, reason=answer.reason, headers=headers, body=body)
    else:
        response = _Passed(status=answer.status, reason=answer.reason, headers=headers)
    response.unsaid = [name for name in _ADDED if name not in headers]
    if isinstance(response, _Passed):
        await _pour(request, content, response)
    return response


async def _pour(request: web.Request, content: aiohttp.StreamReader, response: web.StreamResponse) -> None:
    """Pass a body on as it comes; where it is cut, the caller must not take it for the whole."""
    try:
        await response.prepare(request)
        async for data in content.iter_any():
            await response.write(data)
        await response.write_eof()
    except (aiohttp.ClientError, OSError):
        if request.transport is not None:
            request.transport.close()
