"""A device whose door writes in a task: what is written at once and what waits stay in one order."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from bridge.queued_device import QueuedDevice


def queued(backlog=100):
    return QueuedDevice(
        lambda message: message,
        user="",
        streaming=True,
        backlog=backlog,
        caught_up=lambda _: None,
        cut_off=lambda: None,
    )


async def write(device, written):
    while things := await device.take(20.0):
        for thing in things:
            await asyncio.sleep(0)
            written.append(thing)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=40))
def test_whatever_finds_the_way_free_the_order_is_that_of_what_was_put(steps):
    async def run():
        device, written, free = queued(), [], [False]

        def at_once(thing):
            if free[0]:
                written.append(thing)
            return free[0]

        device.at_once = at_once
        writer = asyncio.create_task(write(device, written))
        for number, (free[0], pauses) in enumerate(steps):
            device.put(number)
            for _ in range(pauses):
                await asyncio.sleep(0)
        device.end()
        await writer
        assert written == list(range(len(steps)))

    asyncio.run(run())


async def test_nothing_is_written_at_once_by_a_device_that_nobody_writes_for():
    device, written = queued(), []
    device.at_once = lambda thing: written.append(thing) or True
    device.put(1)
    assert (written, await device.take(0.0)) == ([], [1])


async def test_what_is_put_behind_the_end_is_not_written():
    device, written = queued(), []
    device.at_once = lambda thing: written.append(thing) or True
    device.end()
    device.put(1)
    assert (written, await device.take(0.0)) == ([], [])
