"""The backend over HTTP: httpx on aiohttp's transport.

A call goes straight to the transport: no redirect is followed, proxy variables of the environment are not
looked at, and no cookie is kept. The status is checked before the content type, and an answer's bytes pass
`Framing` before anything decodes them.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from bridge import __version__, body
from bridge.errors import BackendCut, BackendError, BackendMalformed, BackendRefused
from bridge.events import Completed, Event, Id, valid_id
from bridge.exchange import EVENT_STREAM, Exchange, Heard, Says, positioned, said, translated, with_stored
from bridge.limits import again_after_s
from bridge.ports import Prompt, Take
from bridge.profiles import Profile
from bridge.templates import Asked, ask, pick
from bridge.turn import Turn

KEEPALIVE_S = 3.0
"""Idle connections are closed before a backend closes them (the usual server waits 5 s): a request sent
into a closing connection could not be told from one that arrived."""

REFUSAL_S, REFUSAL_LIMIT_BYTES = 0.2, 64 * 1024
"""How long a refusal's own words are waited for, and how much of them is kept."""

URLS_KNOWN = 256
COMPLETE_LIMIT_BYTES = 4 * 1024 * 1024
_TOLD = ("Content-Type", "Retry-After", "WWW-Authenticate")
"""The headers of a refusal that go on to who asked in the backend's words."""
_NAMED = frozenset({"messageId", "requestId", "roomId", "role", "content"})
_JSON = "application/json"


class HttpBackend:
    """The backend at ``base_url``; ``dialect`` makes a decoder for each stream, given its headers.

    ``stream_ended`` is told in which dialect a stream was and how many of its frames could not be read;
    ``jitter`` gives a number in [0, 1) that spreads what goes on after a cut.
    """

    def __init__(
        self,
        base_url: str,
        profile: Profile,
        dialect: Says,
        stream_ended: Callable[[str, int], None],
        *,
        connect_s: float,
        jitter: Callable[[], float],
        fast: bool = True,
    ) -> None:
        self.name = base_url
        self.idempotent = profile.idempotent
        self.resumes = profile.resumes
        self._profile = profile
        self._dialect = dialect
        self._stream_ended = stream_ended
        self._jitter = jitter
        self._url = lru_cache(URLS_KNOWN)(partial(_below, httpx.URL(base_url)))
        self.misfit = body.misfit() if fast else "the fast path is switched off"
        """Why answers are read in httpx' own way, None where they are not; see `bridge.body`."""
        self._transport = (
            _Transport(client=_session) if self.misfit is None else AiohttpTransport(client=_session)
        )
        self._limits = {"timeout": httpx.Timeout(None, connect=connect_s).as_dict()}

    def __repr__(self) -> str:
        return f"<HttpBackend {self.name} idempotent={self.idempotent}>"

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def stream(self, prompt: Prompt, take: Take, after: str = "") -> None:
        """Ask for the answer piece by piece; see `Backend.stream`."""
        answer, told = self._profile.answer, positioned if self.resumes else said

        def heard(frames: Sequence[Heard]) -> bool:
            return take(told(with_stored(frames, answer) if answer.source == "frame" else frames))

        async with self.exchange(prompt, after) as exchange:
            await exchange.tell(heard)

    @asynccontextmanager
    async def exchange(self, prompt: Prompt, after: str = "") -> AsyncIterator[Exchange]:
        """Make the streaming call, or go on behind ``after``; leaving the context closes it.

        Raises `BackendError`.
        """
        taken, name = await self._prepared(prompt)
        asked = ask(self._profile, self._profile.stream, prompt, taken)

        async def send(last_event_id: str) -> httpx.Response:
            more = {"Last-Event-ID": last_event_id} if last_event_id else {}
            return await self._send(prompt, asked, EVENT_STREAM, more)

        async def go_on(last_event_id: str) -> httpx.Response:
            await asyncio.sleep(again_after_s(self._jitter()))
            return await send(last_event_id)

        response = await send(after)
        exchange = Exchange(response, self._dialect, go_on if self._profile.resumes else None, name)
        try:
            yield exchange
        finally:
            await exchange.close()
            self._stream_ended(exchange.dialect.name, exchange.dialect.malformed)

    async def complete(self, prompt: Prompt) -> Completed:
        """Ask for the whole answer at once; where the backend has no such call, gather the stream."""
        call = self._profile.complete
        if call is None:
            return await self._gathered(prompt)
        answer = await self._body(prompt, ask(self._profile, call.call, prompt, {}))
        value = _read_json(answer)
        content = pick(value, call.content)
        if not isinstance(content, str) or not _is_text(content):
            raise BackendMalformed("unable to read the answer; it has no text where its profile says")
        is_message = isinstance(value, dict) and call.content.count("/") == 1
        extra = {name: each for name, each in value.items() if name not in _NAMED} if is_message else {}
        message_id = _safe_id(pick(value, call.message_id))
        return Completed(content, message_id, extra, answer.decode("utf-8", "replace"))

    async def _gathered(self, prompt: Prompt) -> Completed:
        """Return the answer that a stream tells. Raises `TurnError` where it does not come to its own end."""
        turn = Turn(
            request_id=prompt.request_id,
            room_id=prompt.room_id,
            message_id=prompt.message_id,
            streaming=False,
            created_at=str,
            content_limit_bytes=COMPLETE_LIMIT_BYTES,
        )

        def take(events: Sequence[Event]) -> bool:
            for event in events:
                turn.apply(event)
            turn.take()
            return not turn.ended

        await self.stream(prompt, take)
        if turn.error is not None or not turn.ended:
            raise turn.error or BackendCut("unable to finish the answer; the stream said no end")
        named = turn.conversation_id is not None
        extra = {"conversationId": turn.conversation_id} if named else {}
        return Completed(turn.content, turn.message_id, extra)

    async def stored(self, prompt: Prompt) -> str | None:
        """Return the JSON of the message that the backend keeps, None where its profile knows no way to it.

        Raises `BackendError`.
        """
        answer = self._profile.answer
        if answer.call is None:
            return None
        value = _read_json(await self._body(prompt, ask(self._profile, answer.call, prompt, {})))
        message = pick(value, answer.value)
        return None if message is None else json.dumps(message, ensure_ascii=False)

    async def answers(self, path: str) -> bool:
        """Return whether it answers a GET of ``path`` with anything but a failure of its own (5xx)."""
        request = httpx.Request("GET", self._url(path), extensions=self._limits)
        try:
            response = await self._transport.handle_async_request(request)
            await response.aclose()
        except httpx.HTTPError:
            return False
        return not response.is_server_error

    async def _prepared(self, prompt: Prompt) -> tuple[dict[str, Any], Id | None]:
        """Make the call that comes first, if there is one; return what it gave and the answer's name."""
        first = self._profile.preparation
        if first is None:
            return {}, None
        value = _read_json(await self._body(prompt, ask(self._profile, first.call, prompt, {})))
        taken = {name: pick(value, pointer) for name, pointer in first.take.items()}
        if any(each is None for each in taken.values()):
            raise BackendMalformed("unable to read the answer; it lacks what the streaming call needs")
        return taken, _safe_id(pick(value, first.message_id)) if first.message_id else None

    async def _body(self, prompt: Prompt, asked: Asked) -> bytes:
        response = await self._send(prompt, asked, _JSON)
        with translated():
            try:
                return await _whole(response)
            finally:
                await response.aclose()

    async def _send(
        self, prompt: Prompt, asked: Asked, accept: str, more: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Return a response of status 200 and the content type that was asked for, its body unread."""
        headers = httpx.Headers(
            {
                "Accept": accept,
                "Accept-Encoding": "identity",
                "Cache-Control": "no-store",
                "Content-Type": "application/json",
                "Idempotency-Key": str(prompt.request_id),
            }
        )
        for each in (asked.headers, prompt.headers, more):  # the asker's own before the profile's
            if each:
                headers.update(each)
        url = self._url(asked.target)
        if asked.query:
            url = url.copy_merge_params(dict(asked.query))
        if url.userinfo and "Authorization" in headers:  # aiohttp takes but one of them
            url = url.copy_with(userinfo=b"")
        # as a stream: aiohttp adds host and length itself, and httpx takes three times as long if it has to
        content = httpx.ByteStream(asked.body or b"")
        request = httpx.Request(asked.method, url, headers=headers, stream=content, extensions=self._limits)
        request.read()
        with translated():
            response = await self._transport.handle_async_request(request)
            try:
                await _check(response, accept)
            except BackendError:
                await response.aclose()
                raise
        return response


class _Transport(AiohttpTransport):
    """The transport, which gives a response's own reader along with it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await super().handle_async_request(request)
        stream: Any = response.stream
        response.extensions[body.READER] = stream._aiohttp_response.content  # noqa: SLF001
        return response


def _below(base: httpx.URL, target: str) -> httpx.URL:
    """Return the URL of ``target``, path and query, below the backend's address."""
    path = httpx.URL(target).raw_path.lstrip(b"/")
    return base.copy_with(raw_path=base.raw_path.rstrip(b"/") + b"/" + path)


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"bridge/{__version__}"},
        read_bufsize=256 * 1024,
    )


async def _check(response: httpx.Response, content_type: str) -> None:
    if response.status_code != httpx.codes.OK:
        retry_after_s = _retry_after_s(response.headers.get("retry-after", ""))
        told = {name: response.headers[name] for name in _TOLD if name in response.headers}
        raise BackendRefused(response.status_code, retry_after_s, await _beginning(response), told)
    got = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if got != content_type:
        raise BackendMalformed(f"unable to read the answer; the backend sent no {content_type}")


async def _beginning(response: httpx.Response) -> str:
    """Return as much of a refusal's body as is there at once."""
    parts = bytearray()
    with contextlib.suppress(TimeoutError, httpx.HTTPError, OSError):
        async with asyncio.timeout(REFUSAL_S):
            async for data in response.aiter_bytes():
                parts += data
                if len(parts) >= REFUSAL_LIMIT_BYTES:
                    break
    return parts[:REFUSAL_LIMIT_BYTES].decode("utf-8", "replace")


def _retry_after_s(said: str) -> float:
    return float(said) if said.isascii() and said.isdecimal() else 0.0


async def _whole(response: httpx.Response) -> bytes:
    parts, size_bytes = [], 0
    async for data in response.aiter_bytes():
        size_bytes += len(data)
        if size_bytes > COMPLETE_LIMIT_BYTES:
            raise BackendMalformed(f"unable to read the answer; it is over {COMPLETE_LIMIT_BYTES} bytes")
        parts.append(data)
    return b"".join(parts)


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BackendMalformed("unable to read the answer; it is no JSON") from exc


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _safe_id(value: Any) -> Id | None:
    """Return a backend's id if it can be one on the wire, else None: ours holds then."""
    return value if valid_id(value) else None
