"""A device whose door writes in a task of its own: what it hears waits here until the door has written it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from bridge.messages import Message

CUT_OFF_AT = 8
"""A device for which so many times more waits than what makes it lag is cut off."""

T = TypeVar("T")


class QueuedDevice(Generic[T]):
    """What ``made`` makes of messages waits for the client, None being left out.

    It lags once ``backlog`` things wait, and until its door has written them; then it is ``caught_up``. One
    that lets far more wait is ``cut_off`` once and hears nothing more: it comes back, and resumes.
    """

    at_once: Callable[[T], bool]
    """Writes a thing if that takes no waiting, and says whether it did; asked only while nothing waits."""

    def __init__(
        self,
        made: Callable[[Message], T | None],
        *,
        user: str,
        streaming: bool | None,
        backlog: int,
        caught_up: Callable[["QueuedDevice[T]"], None],
        cut_off: Callable[[], None],
    ) -> None:
        self.user = user
        self.streaming = streaming
        self.lagging = False
        """See `Device.lagging`."""
        self.ended = False
        """True once nothing more is taken; what waits is still to be written."""
        self.at_once = _never
        self._made = made
        self._backlog = backlog
        self._caught_up = caught_up
        self._cut_off = cut_off
        self._waiting: deque[T] = deque()
        self._woken = asyncio.Event()
        self._idle = False

    def __repr__(self) -> str:
        states = f"{' lagging' if self.lagging else ''}{' ended' if self.ended else ''}"
        return f"<QueuedDevice streaming={self.streaming} waiting={len(self._waiting)}{states}>"

    @property
    def way(self) -> None:
        """None: what it hears must be able to wait."""

    def hear(self, message: Message) -> None:
        """Take ``message``; see `Device.hear`."""
        if not self.ended and (made := self._made(message)) is not None:
            self.put(made)

    def put(self, thing: T) -> None:
        """Let ``thing`` wait behind all that was heard before."""
        if self.ended or (self._idle and not self._waiting and self.at_once(thing)):
            return
        self._waiting.append(thing)
        self._woken.set()
        if len(self._waiting) >= self._backlog:
            self.lagging = True
        if len(self._waiting) > CUT_OFF_AT * self._backlog:
            self.cut()

    def end(self) -> None:
        """Take nothing more."""
        self.ended = True
        self._woken.set()

    def cut(self) -> None:
        """Take nothing more, and write nothing more."""
        self._waiting.clear()
        self.end()
        self._cut_off()

    async def take(self, for_s: float) -> list[T]:
        """Return all that waits, once something does; nothing after ``for_s`` seconds, or at the end.

        Who takes again has written what it took before.
        """
        if self.lagging:
            self.lagging = False
            self._caught_up(self)
        if not (self._waiting or self.ended):
            await self._wake(for_s)
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    async def _wake(self, for_s: float) -> None:
        """Be idle until something waits, or for ``for_s`` seconds: all that was taken before is written."""
        self._woken.clear()
        self._idle = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await self._woken.wait()
        self._idle = False


def _never(_: object) -> bool:
    """Write nothing at once."""
    return False
