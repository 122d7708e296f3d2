"""Passes requests on to the backend as they come, and its answers back as they come (RFC 9110, 7.6).

Bodies are streamed both ways and never decoded, no redirect is followed, no cookie is kept, no environment
proxy is used. Only what concerns one connection is left out; who asked, and how, is added for the backend.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from bridge.caller import while_there
from bridge.failures import failure
from bridge.headers import NOT_FOR_BACKEND, end_to_end, forwarded
from bridge.passed import give_back

HEADER_LIMIT_BYTES = 64 * 1024
"""One line of a head: cookies of a chat-server grow beyond the 8 KiB that aiohttp takes by itself."""
KEEPALIVE_S = 3.0
"""As towards the streaming backend: idle connections end before the backend ends them."""


class Proxy:
    """Passes requests on to ``base_url``; ``name`` is this process in ``Via``, where it shows a loop.

    A connection may take ``connect_s``, and either side may be silent for ``silence_s``.
    """

    def __init__(self, base_url: str, *, name: str, connect_s: float, silence_s: float) -> None:
        self._base = str(URL(base_url).with_user(None)).rstrip("/")
        self._via = f"1.1 bridge-{name}"
        self._silence_s = silence_s
        self._connect_s = connect_s
        self._opened: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Proxy {self._base}>"

    async def close(self) -> None:
        """Close every connection."""
        if self._opened is not None:
            await self._opened.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._connect_s, sock_read=self._silence_s
                ),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                auto_decompress=False,
                max_line_size=HEADER_LIMIT_BYTES,
                max_field_size=HEADER_LIMIT_BYTES,
            )
        return self._opened

    async def pass_on(
        self,
        request: web.Request,
        begun: bytes = b"",
        more: Mapping[str, str] | None = None,
        otherwise: web.Response | None = None,
    ) -> web.StreamResponse:
        """Pass ``request`` on, and its answer back; ``begun`` is what was read of its body.

        ``more`` are headers in the place of its own. ``otherwise`` is answered where the backend is not
        to be reached. Raises `CallerGone`.
        """
        target = request.raw_path if request.raw_path.startswith("/") else request.rel_url.raw_path_qs
        if self._via in request.headers.get("Via", ""):
            return failure(508, "loop", "unable to pass the request on; BACKEND_URL leads back to the bridge")
        if "websocket" in request.headers.get("Upgrade", "").lower():
            return failure(501, "no_upgrade", "unable to pass the request on; websockets are not proxied")
        headers = self._headers(request)
        headers.update(more or {})
        data = self._body(request, begun) if request.can_read_body else begun or None
        url = URL(self._base + target, encoded=True)
        call = partial(
            self._session.request, request.method, url, headers=headers, data=data, allow_redirects=False
        )
        return await while_there(request, _exchanged(request, call, otherwise))

    def _headers(self, request: web.Request) -> CIMultiDict[str]:
        headers = end_to_end(request.raw_headers, NOT_FOR_BACKEND)
        headers.update(forwarded(request))
        headers.add("Via", self._via)
        return headers

    async def _body(self, request: web.Request, begun: bytes) -> AsyncIterator[bytes]:
        if begun:
            yield begun
        while True:
            async with asyncio.timeout(self._silence_s):
                data = await request.content.readany()
            if not data:
                return
            yield data


async def _exchanged(
    request: web.Request,
    call: Callable[[], AbstractAsyncContextManager[aiohttp.ClientResponse]],
    otherwise: web.Response | None,
) -> web.StreamResponse:
    try:
        async with call() as answer:
            return await give_back(request, answer)
    except TimeoutError:  # aiohttp's are of this kind, and of the next
        return otherwise or failure(504, "backend_timeout", "unable to answer; the backend took too long")
    except (aiohttp.ClientError, OSError):
        why = "the backend cannot be reached, or hung up"
        return otherwise or failure(502, "backend_unavailable", f"unable to answer; {why}")
