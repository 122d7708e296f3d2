"""A burst is let through a few at a time, in its order, and costs who comes alone nothing."""

import asyncio

from bridge.pace import Pace


class Burst:
    def __init__(self, pace, size):
        self.through = []
        self.tasks = [asyncio.create_task(self._go(pace, number)) for number in range(size)]

    async def _go(self, pace, number):
        await pace.keep()
        self.through.append(number)

    async def sizes(self):
        seen = []
        while len(self.through) < sum(not task.cancelled() for task in self.tasks):
            before = len(self.through)
            await asyncio.sleep(0)
            seen.append(len(self.through) - before)
        return [size for size in seen if size]


async def test_a_burst_passes_a_few_in_each_turn_of_the_loop_and_in_its_order():
    burst = Burst(Pace(4), 18)
    assert max(await burst.sizes()) == 4
    assert burst.through == list(range(18))


async def test_who_comes_when_few_do_waits_for_nothing():
    pace = Pace(2)
    for _ in range(3):
        coroutine = pace.keep()
        try:
            coroutine.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_who_gives_up_takes_nobodys_place():
    burst = Burst(Pace(1), 6)
    await asyncio.sleep(0)
    for number in (2, 3):
        burst.tasks[number].cancel()
    await asyncio.wait(burst.tasks)
    assert burst.through == [0, 1, 4, 5]
    assert repr(Pace(1)) == "<Pace 0 waiting>"
