"""How long the devices of a node wait for the journal: a moment of running time, and longer after a sleep."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from bridge.ports import Clock

APPEND_S = 0.25
"""A journal that has not kept a batch after so long is not waited for."""
SLEPT_S, WAKES_S = 0.5, 2.0
"""A process whose clock jumped by so much was asleep; so long it waits for the journal before it speaks."""
TICK_S = 0.001
"""No timer is more exact than this."""


_Waiting = tuple[float, asyncio.Future[Any], Callable[[], None]]
"""Since when, for what, and who is told that it is late."""


class Patience:
    """What one process knows of its own sleep, and the one timer of all that wait for its journal.

    Who slept may have been replaced meanwhile, and only the journal knows. The moment in which it should have
    answered passed in the sleep, so it gets another one, for every turn of the process.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woke_at_s = float("-inf")
        self._waiting: deque[_Waiting] = deque()
        self._looks_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wait_for(self, answer: asyncio.Future[Any], late: Callable[[], None]) -> None:
        """Call ``late`` once ``answer`` has been waited for long enough, unless it is there by then."""
        now_s = self._clock.monotonic_s()
        self._waiting.append((now_s, answer, late))
        if self._timer is None:
            self._look_at(now_s + APPEND_S, now_s)

    def _look_at(self, at_s: float, now_s: float) -> None:
        self._looks_at_s = at_s
        self._timer = asyncio.get_running_loop().call_later(at_s - now_s, self._look)

    def _look(self) -> None:
        """Tell who has waited long enough, and look again when the next one has: all wait equally long."""
        now_s, self._timer = self._clock.monotonic_s(), None
        if now_s - self._looks_at_s > SLEPT_S:
            self._woke_at_s = now_s
        while self._waiting:
            since_s, answer, late = self._waiting[0]
            until_s = max(since_s + APPEND_S, self._woke_at_s + WAKES_S)
            if until_s - now_s > TICK_S and not answer.done():
                self._look_at(until_s, now_s)
                return
            self._waiting.popleft()
            if not answer.done():
                late()
