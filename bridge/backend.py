"""The backend over HTTP: httpx on aiohttp's transport, httpx-sse for the frames.

The status is checked before the content type, no redirect is followed, proxy variables of the environment
are not looked at, cookies of one user never reach another's call, and an answer's bytes pass `Framing`
before anything decodes them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
import httpx_sse
from httpx_aiohttp import AiohttpTransport

from bridge.dialects.base import Dialect, Frame
from bridge.errors import BackendCut, BackendError, BackendMalformed, BackendRefused, BackendUnreachable
from bridge.events import Completed, Event, Failed, Finished, Id, Position, Started, valid_id
from bridge.framing import Framing, Repeats
from bridge.ports import Prompt
from bridge.profiles import Asked, Profile, ask, pick
from bridge.turn import Turn

KEEPALIVE_S = 3.0
"""Idle connections are closed before a backend closes them (the usual server waits 5 s): a request sent
into a closing connection could not be told from one that arrived."""

TRAILERS_S = 1.0
"""How long to wait for what may follow a whole answer, where a backend leaves the connection open."""

REFUSAL_S, REFUSAL_LIMIT_BYTES = 0.2, 2048
"""How long a refusal's own words are waited for, and how much of them is kept."""

COMPLETE_LIMIT_BYTES = 4 * 1024 * 1024
_NAMED = frozenset({"messageId", "requestId", "roomId", "role", "content"})
_EVENT_STREAM, _JSON = "text/event-stream", "application/json"

Says = Callable[[Mapping[str, str]], Dialect]
Heard = tuple[Frame, list[Event]]


class HttpBackend:
    """The backend at ``base_url``; ``dialect`` makes a decoder for each stream, given its headers.

    ``stream_ended`` is told in which dialect a stream was and how many of its frames could not be read.
    """

    def __init__(
        self,
        base_url: str,
        profile: Profile,
        dialect: Says,
        stream_ended: Callable[[str, int], None],
        *,
        connect_s: float,
    ) -> None:
        self.idempotent = profile.idempotent
        self.resumes = profile.resumes
        self._profile = profile
        self._dialect = dialect
        self._stream_ended = stream_ended
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

    def stream(self, prompt: Prompt, after: str = "") -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Ask for the answer piece by piece; see `Backend.stream`."""
        return self._stream(prompt, after)

    @asynccontextmanager
    async def _stream(self, prompt: Prompt, after: str) -> AsyncIterator[AsyncIterator[Event]]:
        async with self.exchange(prompt, after) as exchange:
            yield _positioned(exchange) if self.resumes else _events(exchange)

    @asynccontextmanager
    async def exchange(self, prompt: Prompt, after: str = "") -> AsyncIterator["Exchange"]:
        """Make the streaming call, or go on behind ``after``; leaving the context closes it.

        Raises `BackendError`.
        """
        taken, name = await self._prepared(prompt)
        asked = ask(self._profile, self._profile.stream, prompt, taken)

        async def send(last_event_id: str) -> httpx.Response:
            more = {"Last-Event-ID": last_event_id} if last_event_id else {}
            return await self._send(prompt, asked, _EVENT_STREAM, more)

        response = await send(after)
        exchange = Exchange(response, self._dialect, send if self._profile.resumes else None, name)
        try:
            yield exchange
        finally:
            await exchange.close()
            self._stream_ended(exchange.dialect.name, exchange.dialect.malformed)

    async def complete(self, prompt: Prompt) -> Completed:
        """Ask for the whole answer at once; where the backend has no such call, gather the stream."""
        call = self._profile.complete
        if call is None:
            async with self.stream(prompt) as events:
                return await _gathered(prompt, events)
        value = await self._json(prompt, ask(self._profile, call.call, prompt, {}))
        content = pick(value, call.content)
        if not isinstance(content, str) or not _is_text(content):
            raise BackendMalformed("unable to read the answer; it has no text where its profile says")
        is_message = isinstance(value, dict) and call.content.count("/") == 1
        extra = {name: each for name, each in value.items() if name not in _NAMED} if is_message else {}
        return Completed(content, _safe_id(pick(value, call.message_id)), extra)

    async def _prepared(self, prompt: Prompt) -> tuple[dict[str, Any], Id | None]:
        """Make the call that comes first, if there is one; return what it gave and the answer's name."""
        first = self._profile.preparation
        if first is None:
            return {}, None
        value = await self._json(prompt, ask(self._profile, first.call, prompt, {}))
        taken = {name: pick(value, pointer) for name, pointer in first.take.items()}
        if any(each is None for each in taken.values()):
            raise BackendMalformed("unable to read the answer; it lacks what the streaming call needs")
        return taken, _safe_id(pick(value, first.message_id)) if first.message_id else None

    async def _json(self, prompt: Prompt, asked: Asked) -> Any:
        response = await self._send(prompt, asked, _JSON)
        with _translated():
            try:
                return _read_json(await _body(response))
            finally:
                await response.aclose()

    async def _send(
        self, prompt: Prompt, asked: Asked, accept: str, more: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Return a response of status 200 and the content type that was asked for, its body unread."""
        headers = {
            "Accept": accept,
            "Accept-Encoding": "identity",
            "Cache-Control": "no-store",
            "Content-Type": "application/json",
            "Idempotency-Key": str(prompt.request_id),
            **asked.headers,
            **(more or {}),
        }
        target = httpx.URL(asked.target)
        if asked.query:
            target = target.copy_merge_params(dict(asked.query))
        request = self._client.build_request(asked.method, target, headers=headers, content=asked.body)
        with _translated():
            response = await self._client.send(request, stream=True)
            try:
                await _check(response, accept)
            except BackendError:
                await response.aclose()
                raise
        return response


class Exchange:
    """One streaming call: its frames and what they say, over a second connection where it may resume.

    ``resend`` sends the call again from behind a Last-Event-ID; None where the backend knows no such thing.
    """

    def __init__(
        self,
        response: httpx.Response,
        dialect: Says,
        resend: Callable[[str], Any] | None,
        message_id: Id | None = None,
    ) -> None:
        self.response = response
        self.dialect = dialect(response.headers)
        self.unfinished = b""
        """What came behind the last line end, once the bytes have ended."""
        self._resend = resend
        self._message_id = message_id
        self._repeats = Repeats()
        self._last_event_id = ""
        self._was_resumed = False

    async def close(self) -> None:
        """Close the connection."""
        await self.response.aclose()

    async def heard(self) -> AsyncIterator[Heard]:
        """Give each frame and what it says, until the answer has ended; the last may come without a frame."""
        if self._message_id is not None:
            yield Frame(""), [Started(self._message_id)]
        while True:
            async for frame in self._frames():
                events = self.dialect.decode(frame)
                yield frame, events
                if events and isinstance(events[-1], Finished | Failed):
                    return
            if self.dialect.whole or not await self._resumed():
                break
        yield Frame(""), [self._counted(event) for event in self.dialect.eof()]

    async def _frames(self) -> AsyncIterator[Frame]:
        """Give frames until the bytes end, however they end: what that means, the dialect knows."""
        framing = Framing(self._repeats)
        source = httpx_sse.EventSource(_framed(self.response, framing)).aiter_sse()
        try:
            with _translated():
                while True:
                    sse = await (self._trailer(source) if self.dialect.whole else anext(source))
                    self._last_event_id = sse.id or self._last_event_id
                    yield Frame(sse.data, sse.event if sse.event != "message" else "", sse.id)
        except (StopAsyncIteration, BackendCut):
            self.unfinished = framing.unfinished

    @staticmethod
    async def _trailer(source: AsyncIterator[httpx_sse.ServerSentEvent]) -> httpx_sse.ServerSentEvent:
        try:
            async with asyncio.timeout(TRAILERS_S):
                return await anext(source)
        except TimeoutError as exc:
            raise BackendCut("unable to wait for more; the answer is whole") from exc

    async def _resumed(self) -> bool:
        """Ask for what follows the last frame, once; the decoder goes on where it was."""
        resend, self._resend = self._resend, None
        if resend is None or not self._last_event_id:
            return False
        try:
            response = await resend(self._last_event_id)
        except BackendError:
            return False
        await self.response.aclose()
        self.response = response
        self._was_resumed = True
        return True

    def _counted(self, event: Event) -> Event:
        """Say of a cut that the second call was made already."""
        if isinstance(event, Failed) and self._was_resumed:
            event.error.final = True
        return event


async def _events(exchange: Exchange) -> AsyncIterator[Event]:
    async for _, events in exchange.heard():
        for event in events:
            yield event


async def _positioned(exchange: Exchange) -> AsyncIterator[Event]:
    """Give the events, and behind those of each frame with an id, but the last, where the stream is."""
    async for frame, events in exchange.heard():
        for event in events:
            yield event
        if frame.id and not (events and isinstance(events[-1], Finished | Failed)):
            yield Position(frame.id)


async def _gathered(prompt: Prompt, events: AsyncIterator[Event]) -> Completed:
    """Return the answer that a stream tells. Raises `TurnError` where it does not come to its own end."""
    turn = Turn(
        request_id=prompt.request_id,
        room_id=prompt.room_id,
        message_id=prompt.message_id,
        streaming=False,
        created_at=str,
        content_limit_bytes=COMPLETE_LIMIT_BYTES,
    )
    async for event in events:
        turn.apply(event)
        turn.take()
        if turn.ended:
            break
    if turn.error is not None or not turn.ended:
        raise turn.error or BackendCut("unable to finish the answer; the stream said no end")
    named = turn.conversation_id is not None
    return Completed(turn.content, turn.message_id, {"conversationId": turn.conversation_id} if named else {})


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=256 * 1024
    )


class _Framed(httpx.AsyncByteStream):
    def __init__(self, response: httpx.Response, framing: Framing) -> None:
        self._response = response
        self._framing = framing

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._response.aiter_bytes():
            if records := self._framing.feed(data):
                yield records


def _framed(response: httpx.Response, framing: Framing) -> httpx.Response:
    """Return ``response`` as httpx-sse decodes it rightly: framed, and as UTF-8 whatever its headers say."""
    headers = {"content-type": f"{_EVENT_STREAM}; charset=utf-8"}
    return httpx.Response(200, headers=headers, stream=_Framed(response, framing))


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


async def _check(response: httpx.Response, content_type: str) -> None:
    if response.status_code != httpx.codes.OK:
        retry_after_s = _retry_after_s(response.headers.get("retry-after", ""))
        raise BackendRefused(response.status_code, retry_after_s, await _beginning(response))
    got = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if got != content_type:
        raise BackendMalformed(f"unable to read the answer; the backend sent no {content_type}")


async def _beginning(response: httpx.Response) -> str:
    """Return the first piece of a refusal's body, if it is there at once."""
    try:
        async with asyncio.timeout(REFUSAL_S):
            async for data in response.aiter_bytes():
                return data[:REFUSAL_LIMIT_BYTES].decode("utf-8", "replace")
    except (TimeoutError, httpx.HTTPError, OSError):
        pass
    return ""


def _retry_after_s(said: str) -> float:
    return float(said) if said.isascii() and said.isdecimal() else 0.0


async def _body(response: httpx.Response) -> bytes:
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
