"""The body of a response, told as it comes: no task wakes for each piece, where aiohttp allows that.

aiohttp puts bytes into a buffer and wakes a task, which takes them out again: as much work as all that is
then done to a token. Here a reader whose head is there tells its bytes on, in the call that brings them.
`misfit` says why the aiohttp that is installed cannot be used so; then they are read in httpx' own way.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx

READER = "bridge_reader"
"""The extension of a response under which its transport gives its `aiohttp.StreamReader`, where it may."""

Take = Callable[[bytes], bool]
"""Takes what came, and returns whether it wants more; must not wait."""


async def tell(response: httpx.Response, take: Take) -> None:
    """Tell ``take`` the bytes of a body as they come, to their end, or until it wants no more.

    Raises what ``take`` raises, and what httpx, aiohttp and the system raise of a connection.
    """
    reader = response.extensions.get(READER)
    if reader is not None and "content-encoding" not in response.headers:
        await _tell(reader, take)
        return
    async for data in response.aiter_bytes():
        if not take(data):
            return


async def _tell(reader: Any, take: Take) -> None:
    while data := reader.read_nowait():  # what came with the head
        if not take(data):
            return
    if not reader.at_eof():
        await _divert(reader, take).over


def _divert(reader: Any, take: Take) -> "_Sink":
    sink = _Sink(take)
    reader._waiter = sink  # noqa: SLF001  (there it keeps the future of who waits for bytes)
    reader.__class__ = _Diverted
    return sink


class _Sink:
    """Who is told the bytes of a reader; for the reader it is the future of who waits for them."""

    def __init__(self, take: Take) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the body has ended, or ``take`` wants no more."""
        self._take = take

    def feed(self, data: bytes) -> None:
        if self.over.done():
            return
        try:
            if not self._take(data):
                self.over.set_result(None)
        except Exception as fault:  # noqa: BLE001  (it is who waits that must see it, not the parser)
            self.set_exception(fault)

    def done(self) -> bool:
        return self.over.done()

    def set_result(self, _: None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        if not self.over.done():
            self.over.set_exception(error)


class _Diverted(aiohttp.StreamReader):
    """A reader that keeps nothing: its bytes go to the `_Sink` in the place of its future."""

    __slots__ = ()

    def feed_data(self, data: bytes, size: int = 0) -> bool:  # noqa: ARG002
        sink: Any = self._waiter
        if sink is not None:  # it is gone behind the end
            sink.feed(data)
        return False

    def begin_http_chunk_receiving(self) -> None:
        """Know no chunks: they are the transfer's, not the body's."""

    def end_http_chunk_receiving(self) -> None:
        """Know no chunks."""


class _NoConnection:
    """As much of a connection as a reader asks for."""

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """Do nothing: nothing was paused."""


def misfit() -> str | None:
    """Return why the readers of the aiohttp that is installed cannot be used this way, None if they can."""
    told: list[bytes] = []

    def take(data: bytes) -> bool:
        told.append(data)
        return True

    try:
        reader: Any = aiohttp.StreamReader(
            _NoConnection(),  # type: ignore[arg-type]
            2**16,
            loop=asyncio.get_running_loop(),
        )
        sink = _divert(reader, take)
        for each in (b"a", b"b"):
            reader.begin_http_chunk_receiving()
            reader.feed_data(each)
            reader.end_http_chunk_receiving()
        reader.feed_eof()
        fits = sink.over.done() and told == [b"a", b"b"]
    except Exception as exc:  # noqa: BLE001  (whatever it is, httpx' own way does not mind it)
        return f"{type(exc).__name__}: {exc}"
    return None if fits else "its readers behave otherwise than those this was written for"
