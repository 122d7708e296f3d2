"""The backend over HTTP: httpx on aiohttp's transport, httpx-sse for the frames.

The status is checked before the content type, no redirect is followed, proxy variables of the environment
are not looked at, cookies of one user never reach another's call, and an answer's bytes pass `Framing`
before anything decodes them.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
import httpx_sse
from httpx_aiohttp import AiohttpTransport

from bridge.dialects.base import Dialect, Frame
from bridge.errors import BackendCut, BackendMalformed, BackendRefused, BackendUnreachable
from bridge.events import Completed, Event, Id, Started, valid_id
from bridge.framing import Framing
from bridge.ports import Prompt

KEEPALIVE_S = 3.0
"""Idle connections are closed before a backend closes them (the usual server waits 5 s): a request sent
into a closing connection could not be told from one that arrived."""

COMPLETE_LIMIT_BYTES = 4 * 1024 * 1024
_NAMED = frozenset({"messageId", "requestId", "roomId", "role", "content"})


@dataclass(frozen=True, slots=True)
class Profile:
    """How a backend is spoken to: paths below its address, and whether it knows a repeated request."""

    stream_path: str = "/chat/messages/stream"
    complete_path: str = "/chat/messages"
    idempotent: bool = False


class _Framed(httpx.AsyncByteStream):
    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        framing = Framing()
        async for data in self._response.aiter_bytes():
            if records := framing.feed(data):
                yield records


class HttpBackend:
    """The backend at ``base_url``; ``dialect`` makes a decoder for each stream."""

    def __init__(
        self, base_url: str, profile: Profile, dialect: Callable[[], Dialect], *, connect_s: float
    ) -> None:
        self.idempotent = profile.idempotent
        self._profile = profile
        self._dialect = dialect
        self._client = httpx.AsyncClient(
            base_url=base_url,
            transport=AiohttpTransport(client=_session),
            timeout=httpx.Timeout(None, connect=connect_s),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"<HttpBackend {self._client.base_url} idempotent={self.idempotent}>"

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def stream(self, prompt: Prompt) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Ask for the answer piece by piece; see `Backend.stream`."""
        return self._stream(prompt)

    @asynccontextmanager
    async def _stream(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Event]]:
        request = self._request(self._profile.stream_path, prompt, "text/event-stream")
        with _translated():
            response = await self._client.send(request, stream=True)
        try:
            _check(response, "text/event-stream")
            yield self._events(response)
        finally:
            await response.aclose()

    async def _events(self, response: httpx.Response) -> AsyncIterator[Event]:
        dialect = self._dialect()
        framed = httpx.Response(
            200, headers={"content-type": "text/event-stream; charset=utf-8"}, stream=_Framed(response)
        )
        try:
            with _translated():
                async for sse in httpx_sse.EventSource(framed).aiter_sse():
                    for event in dialect.decode(Frame(sse.data, sse.event, sse.id)):
                        yield _with_safe_id(event)
        except BackendCut:
            pass  # what the dialect makes of the end of the bytes is what counts
        for event in dialect.eof():
            yield event

    async def complete(self, prompt: Prompt) -> Completed:
        """Ask for the whole answer at once; see `Backend.complete`."""
        request = self._request(self._profile.complete_path, prompt, "application/json")
        with _translated():
            response = await self._client.send(request, stream=True)
            try:
                _check(response, "application/json")
                return _completed(await _body(response))
            finally:
                await response.aclose()

    def _request(self, path: str, prompt: Prompt, accept: str) -> httpx.Request:
        named = {
            "requestId": prompt.request_id,
            "roomId": prompt.room_id,
            "messageId": prompt.message_id,
            "content": prompt.content,
        }
        headers = {
            "Accept": accept,
            "Accept-Encoding": "identity",
            "Cache-Control": "no-store",
            "Content-Type": "application/json",
            "Idempotency-Key": str(prompt.request_id),
        }
        body = json.dumps({**prompt.extra, **named}, ensure_ascii=False).encode()
        return self._client.build_request("POST", path, headers=headers, content=body)


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=256 * 1024
    )


class _translated:  # noqa: N801  (reads as a word in `with _translated():`)
    """Turns what httpx raises into `BackendError`; only what surely was not sent is unreachable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, httpx.HTTPError | aiohttp.ClientError | OSError):
            # httpx-aiohttp calls every lost connection a connect timeout: its cause tells them apart
            cause = error.__cause__ or error
            if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
                why = "the backend cannot be reached"
                raise BackendUnreachable(f"unable to get an answer; {why}") from error
            raise BackendCut("unable to finish the answer; the connection was lost") from error


def _check(response: httpx.Response, content_type: str) -> None:
    if response.status_code != httpx.codes.OK:
        raise BackendRefused(response.status_code)
    got = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if got != content_type:
        raise BackendMalformed(f"unable to read the answer; the backend sent no {content_type}")


async def _body(response: httpx.Response) -> bytes:
    parts, size_bytes = [], 0
    async for data in response.aiter_bytes():
        size_bytes += len(data)
        if size_bytes > COMPLETE_LIMIT_BYTES:
            raise BackendMalformed(f"unable to read the answer; it is over {COMPLETE_LIMIT_BYTES} bytes")
        parts.append(data)
    return b"".join(parts)


def _completed(body: bytes) -> Completed:
    try:
        value: Any = json.loads(body)
        value["content"].encode()
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as exc:
        raise BackendMalformed("unable to read the answer; it is no JSON object with a text content") from exc
    extra = {name: field for name, field in value.items() if name not in _NAMED}
    return Completed(value["content"], _safe_id(value.get("messageId")), extra)


def _safe_id(value: Any) -> Id | None:
    """Return a backend's id if it can be one on the wire, else None: ours holds then."""
    return value if valid_id(value) else None


def _with_safe_id(event: Event) -> Event:
    return Started(_safe_id(event.message_id)) if isinstance(event, Started) else event
