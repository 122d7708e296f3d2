"""When garbage is collected that nothing but the collector frees."""

import asyncio
import gc
import weakref

import pytest

from bridge.commands.collector import spared


class Knot:
    """Holds itself."""

    def __init__(self):
        self.itself = self


@pytest.fixture
def old_garbage(monkeypatch):
    """Makes garbage that is old, and gives a way to see whether it is there."""
    monkeypatch.setattr("bridge.commands.collector.LOOK_S", 0.01)

    def make():
        knot = Knot()
        gc.collect(0)
        gc.collect(1)
        there = weakref.ref(knot)
        del knot
        gc.collect(0)
        return there

    return make


async def test_at_rest_old_garbage_goes(old_garbage):
    async with asyncio.timeout(30), spared(lambda: True):
        there = old_garbage()
        while there() is not None:
            await asyncio.sleep(0.01)


async def test_while_answers_run_the_old_is_left_alone(old_garbage):
    rests = False
    async with asyncio.timeout(30), spared(lambda: rests):
        there = old_garbage()
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert there() is not None
        rests = True
        while there() is not None:
            await asyncio.sleep(0.01)


async def test_what_lives_on_is_walked_through_in_small_parts():
    walked = []

    def look(phase, info):
        if phase == "start" and info["generation"] == 1:
            walked.append(sum(len(gc.get_objects(generation=each)) for each in (0, 1)))

    gc.callbacks.append(look)
    try:
        async with spared(lambda: False):
            kept = [[] for _ in range(200_000)]
    finally:
        gc.callbacks.remove(look)
    assert max(walked) < len(kept) / 4


async def test_afterwards_the_collector_is_as_it_was():
    before = gc.get_threshold()
    async with spared(lambda: True):
        assert gc.get_threshold() != before
        assert gc.get_freeze_count()
    assert gc.get_threshold() == before
    assert not gc.get_freeze_count()
