"""One streaming call of a backend: its frames and what they say, over two connections where it may resume."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, ClassVar, cast

import aiohttp
import httpx
import httpx_sse

from bridge.dialects.base import Dialect, Frame
from bridge.errors import BackendCut, BackendError, BackendUnreachable
from bridge.events import Event, Failed, Finished, Id, Position, Started, Stored
from bridge.framing import Framing, Repeats
from bridge.profiles import Answer
from bridge.templates import frame_message

TRAILERS_S = 1.0
"""How long to wait for what may follow a whole answer, where a backend leaves the connection open."""

EVENT_STREAM = "text/event-stream"
READER = "bridge_reader"
"""The extension of a response under which its transport gives its reader, an `aiohttp.StreamReader`."""

Says = Callable[[Mapping[str, str]], Dialect]
Heard = tuple[Frame, list[Event]]


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
        source = httpx_sse.EventSource(cast(Any, _Framed(self.response, framing))).aiter_sse()
        try:
            with translated():
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


async def events(heard: AsyncIterator[Heard]) -> AsyncIterator[Event]:
    """Give what all frames say."""
    async for _, said in heard:
        for event in said:
            yield event


async def positioned(heard: AsyncIterator[Heard]) -> AsyncIterator[Event]:
    """Give the events, and behind those of each frame with an id, but the last, where the stream is."""
    async for frame, events in heard:
        for event in events:
            yield event
        if frame.id and not (events and isinstance(events[-1], Finished | Failed)):
            yield Position(frame.id)


async def with_stored(heard: AsyncIterator[Heard], answer: Answer) -> AsyncIterator[Heard]:
    """Let the frame that carries the stored message say so too."""
    async for frame, events in heard:
        body = frame_message(answer, frame.data)
        yield frame, events if body is None else [Stored(body), *events]


class _Framed:
    """As much of a response as httpx-sse reads: framed, and as UTF-8 whatever its headers say.

    A second whole response around the first would cost as much as everything else that is done to a frame.
    """

    headers: ClassVar[Mapping[str, str]] = {"content-type": EVENT_STREAM}

    def __init__(self, response: httpx.Response, framing: Framing) -> None:
        self._response = response
        self._framing = framing

    async def aiter_text(self) -> AsyncIterator[str]:
        """Give records as they come; a record is whole lines, so no character is cut."""
        arriving = _arriving(self._response)
        while data := await arriving():
            if records := self._framing.feed(data):
                yield records.decode("utf-8", "replace")


def _arriving(response: httpx.Response) -> Callable[[], Awaitable[bytes]]:
    """Return what waits for the next bytes of a response; behind the last it gives none.

    Past httpx where the transport gives the way: each of its five layers costs as much as framing does.
    """
    reader = response.extensions.get(READER)
    if reader is None or "content-encoding" in response.headers:
        decoded = response.aiter_bytes()
        return lambda: anext(decoded, b"")
    readany: Callable[[], Awaitable[bytes]] = reader.readany
    return readany


class translated:  # noqa: N801  (reads as a word in `with translated():`)
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
