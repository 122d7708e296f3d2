"""When the garbage of a process is collected: seldom while answers run, and once they have come to rest."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable

COLLECT_AFTER = (10_000, 2, 400)
"""So many objects more than were freed, of which chunks make none that outlive them; stock is 700, 10, 10.

The middle ones are collected often: what hundreds of answers hold would else be walked through at one moment,
for a tenth of a second.
"""
LOOK_S = 5.0
"""So often is looked whether there is a rest."""


@contextlib.asynccontextmanager
async def spared(rests: Callable[[], bool]) -> AsyncIterator[None]:
    """Let the collector look past what lives as long as the process, and at the young more seldom.

    Where rooms are many it would else walk through all of them again and again, for a tenth of the processor.
    What it leaves behind for that, it collects while the process ``rests``: then nobody waits for it. To hear
    the answers of other nodes is no rest.
    """
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    resting = asyncio.create_task(_collect_at_rest(rests, _young_ones()), name="collector")
    try:
        yield
    finally:
        resting.cancel()
        await asyncio.gather(resting, return_exceptions=True)
        gc.set_threshold(*before)
        gc.unfreeze()


async def _collect_at_rest(rests: Callable[[], bool], collected: int) -> None:
    """Collect what is old, unless the young were not looked at since they were ``collected`` so often."""
    while True:
        await asyncio.sleep(LOOK_S)
        if rests() and _young_ones() != collected:  # else little can have come since
            gc.collect()
            collected = _young_ones()


def _young_ones() -> int:
    """Return how often the young have been looked at."""
    return int(gc.get_stats()[0]["collections"])
