"""How long the devices of a node wait for the journal: a moment of running time, and longer after a sleep."""

import asyncio
from collections import deque
from typing import Any

from bridge.ports import Clock

APPEND_S = 0.25
"""A journal that has not kept a batch after so long is not waited for."""
SLEPT_S, WAKES_S = 0.5, 2.0
"""A process whose clock jumped by so much was asleep; so long it waits for the journal before it speaks."""


class Patience:
    """What one process knows of its own sleep, and the one timer of all that wait for its journal.

    Who slept may have been replaced meanwhile, and only the journal knows. The moment in which it should have
    answered passed in the sleep, so it gets another one, for every turn of the process.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woke_at_s = float("-inf")
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, answer: asyncio.Future[Any]) -> None:
        """Return when ``answer`` is there, or has been waited for long enough."""
        began_s = self._clock.monotonic_s()
        await self._moment(answer)
        now_s = self._clock.monotonic_s()
        if now_s - began_s > APPEND_S + SLEPT_S:
            self._woke_at_s = now_s
        awake_s = now_s - self._woke_at_s
        if awake_s < WAKES_S:
            await asyncio.wait({answer}, timeout=WAKES_S - awake_s)

    async def _moment(self, answer: asyncio.Future[Any]) -> None:
        """Wait for ``answer``, for `APPEND_S`: one timer serves all, as each waits equally long."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append((loop.time() + APPEND_S, waiter))
        if self._timer is None:
            self._timer = loop.call_later(APPEND_S, self._late)

        def wake(_: object) -> None:
            if not waiter.done():
                waiter.set_result(None)

        answer.add_done_callback(wake)
        try:
            await waiter
        finally:
            answer.remove_done_callback(wake)

    def _late(self) -> None:
        """Wake who has waited long enough, and look again when the next one has."""
        loop, self._timer = asyncio.get_running_loop(), None
        while self._waiting:
            until_s, waiter = self._waiting[0]
            if not waiter.done():
                if until_s > loop.time():
                    self._timer = loop.call_at(until_s, self._late)
                    return
                waiter.set_result(None)
            self._waiting.popleft()
