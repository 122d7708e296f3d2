"""Notices that who asked over HTTP has gone, so that nothing goes on for nobody."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

GLANCE_S = 0.25
"""How often a call in flight looks whether its caller is still there."""
CALLER_GONE = 499
"""The status of an answer that nobody hears."""

T = TypeVar("T")


class CallerGone(Exception):
    """Nobody waits for the answer any more."""


async def while_there(request: web.Request, doing: Coroutine[Any, Any, T]) -> T:
    """Return what ``doing`` gives, and end it once the caller has gone. Raises `CallerGone`.

    aiohttp tells a handler that its caller has gone only when it writes. It could cancel all handlers
    then, but those of the Socket.IO machinery must come to their own end.
    """
    task = asyncio.ensure_future(doing)
    try:
        while not (await asyncio.wait({task}, timeout=GLANCE_S))[0]:
            if request.transport is None or request.transport.is_closing():
                raise CallerGone
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
