"""What many want at one moment is let through a few at a time, and what runs runs on in between."""

import asyncio
from collections import deque


class Pace:
    """Lets ``at_once`` through in each turn of the event loop, in the order they came.

    A burst of beginnings would else be one turn of the loop, as long as all of them together, and every
    answer under way would stand still for it. Nobody waits for anything but the loop.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._through = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<Pace {len(self._waiting)} waiting>"

    async def keep(self) -> None:
        """Return once it is the caller's turn, at once where few have asked."""
        loop = asyncio.get_running_loop()
        if self._through == 0:
            loop.call_soon(self._next_turn, loop)
        if self._through < self._at_once:
            self._through += 1
            return
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._through = 0
        while self._waiting and self._through < self._at_once:
            waiter = self._waiting.popleft()
            if not waiter.done():  # else it was cancelled
                waiter.set_result(None)
                self._through += 1
        if self._through:
            loop.call_soon(self._next_turn, loop)
