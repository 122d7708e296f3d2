"""How long the devices of a node wait for the journal: a moment of running time, and longer after a sleep."""

import asyncio
from typing import Any

from bridge.ports import Clock

APPEND_S = 0.25
"""A journal that has not kept a batch after so long is not waited for."""
SLEPT_S, WAKES_S = 0.5, 2.0
"""A process whose clock jumped by so much was asleep; so long it waits for the journal before it speaks."""


class Patience:
    """What one process knows of its own sleep.

    Who slept may have been replaced meanwhile, and only the journal knows. The moment in which it should have
    answered passed in the sleep, so it gets another one, for every turn of the process.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woke_at_s = float("-inf")

    async def wait_for(self, answer: asyncio.Future[Any]) -> None:
        """Return when ``answer`` is there, or has been waited for long enough."""
        began_s = self._clock.monotonic_s()
        await _done(answer, APPEND_S)
        now_s = self._clock.monotonic_s()
        if now_s - began_s > APPEND_S + SLEPT_S:
            self._woke_at_s = now_s
        awake_s = now_s - self._woke_at_s
        if awake_s < WAKES_S:
            await _done(answer, WAKES_S - awake_s)


async def _done(answer: asyncio.Future[Any], within_s: float) -> None:
    """Wait as `asyncio.wait` does, for one future, at a third of its cost."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    deadline = loop.call_later(within_s, wake)
    answer.add_done_callback(wake)
    try:
        await waiter
    finally:
        deadline.cancel()
        answer.remove_done_callback(wake)
