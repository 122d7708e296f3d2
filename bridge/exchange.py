"""One streaming call of a backend: its frames and what they say, over two connections where it may resume."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import httpx

from bridge import body
from bridge.dialects.base import Dialect, Frame
from bridge.errors import BackendCut, BackendError, BackendUnreachable
from bridge.events import Event, Failed, Finished, Id, Position, Started, Stored
from bridge.framing import Framing, Repeats
from bridge.profiles import Answer
from bridge.templates import frame_message

TRAILERS_S = 1.0
"""How long to wait for what may follow a whole answer, where a backend leaves the connection open."""

EVENT_STREAM = "text/event-stream"

Says = Callable[[Mapping[str, str]], Dialect]
Heard = tuple[Frame, list[Event]]
Take = Callable[[Sequence[Heard]], bool]
"""Takes the frames that came at once, each with what it says; returns whether it wants more."""


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
        self._resend = resend
        self._message_id = message_id
        self._repeats = Repeats()
        self._framing = Framing(self._repeats)
        self._last_event_id = ""
        self._was_resumed = False
        self._over = False

    @property
    def unfinished(self) -> bytes:
        """What came behind the last line end."""
        return self._framing.unfinished

    async def close(self) -> None:
        """Close the connection."""
        await self.response.aclose()

    async def tell(self, take: Take) -> None:
        """Tell ``take`` what comes, until the answer has ended; what is said last may come without a frame.

        Raises what ``take`` raises, and `BackendMalformed`.
        """
        if self._message_id is not None and not take([(Frame(""), [Started(self._message_id)])]):
            return
        while not self._over:
            await self._tell_frames(take)
            if self.dialect.whole or self._over or not await self._resumed():
                break
        if not self._over:
            take([(Frame(""), [self._counted(event) for event in self.dialect.eof()])])

    async def _tell_frames(self, take: Take) -> None:
        """Do so until the bytes end, however they end: what that means, the dialect knows."""
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(None) as trailers:

                def told(data: bytes) -> bool:
                    frames = self._framing.feed(data)
                    if frames:
                        self._over = not take(self._understood(frames)) or self._over
                    if self.dialect.whole and not self._over:
                        trailers.reschedule(now() + TRAILERS_S)
                    return not self._over

                with translated():
                    await body.tell(self.response, told)
        except (BackendCut, TimeoutError):
            pass

    def _understood(self, frames: Sequence[Frame]) -> list[Heard]:
        """Return what ``frames`` say, as far as the end of the answer."""
        self._last_event_id = frames[-1].id or self._last_event_id
        heard = []
        for frame in frames:
            events = self.dialect.decode(frame)
            heard.append((frame, events))
            if events and _is_over(events):
                self._over = True
                break
        return heard

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
        self.response, self._framing = response, Framing(self._repeats)
        self._was_resumed = True
        return True

    def _counted(self, event: Event) -> Event:
        """Say of a cut that the second call was made already."""
        if isinstance(event, Failed) and self._was_resumed:
            event.error.final = True
        return event


def _is_over(events: Sequence[Event]) -> bool:
    return bool(events) and isinstance(events[-1], Finished | Failed)


def said(heard: Sequence[Heard]) -> list[Event]:
    """Return what frames say."""
    if len(heard) == 1:  # as it is with nearly every read
        return heard[0][1]
    return [event for _, events in heard for event in events]


def positioned(heard: Sequence[Heard]) -> list[Event]:
    """Return the events, and behind those of each frame with an id, but the last, where the stream is."""
    told: list[Event] = []
    for frame, events in heard:
        told += events
        if frame.id and not _is_over(events):
            told.append(Position(frame.id))
    return told


def with_stored(heard: Sequence[Heard], answer: Answer) -> list[Heard]:
    """Let the frame that carries the stored message say so too."""
    bodies = [frame_message(answer, frame.data) for frame, _ in heard]
    return [
        (frame, events if stored is None else [Stored(stored), *events])
        for (frame, events), stored in zip(heard, bodies, strict=True)
    ]


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
