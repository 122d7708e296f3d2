"""The guard's figures in every store that has them, and what only several nodes can do."""

import asyncio

from bridge.figures import BUCKETS, NAMES, Figures

ONE = Figures({"turns": 1, "first:3": 1})
BAD = Figures({"turns": 1, "failed": 1})
GONE = -2
"""What PTTL says of a key that has expired since."""


async def test_what_is_added_is_summed(tally_of):
    tally = tally_of(60.0)
    assert await tally.add("0", 1, ONE) == ONE
    assert await tally.add("0", 2, BAD) == Figures({"turns": 2, "first:3": 1, "failed": 1})
    assert await tally.add("0", 3, Figures()) == Figures({"turns": 2, "first:3": 1, "failed": 1})


async def test_the_same_number_adds_once(tally_of):
    tally = tally_of(60.0)
    for _ in range(3):
        assert await tally.add("0", 1, BAD) == BAD
    assert (await tally.add("0", 2, BAD))["failed"] == 2


async def test_eras_are_never_summed(tally_of):
    tally = tally_of(60.0)
    await tally.add("0", 1, BAD)
    assert await tally.add("7-0", 2, ONE) == ONE


async def test_what_is_older_than_the_window_counts_no_more(tally_of):
    tally = tally_of(0.6)
    await tally.add("0", 1, BAD)
    async with asyncio.timeout(60):
        for number in range(2, 1000):
            if not (await tally.add("0", number, Figures()))["failed"]:
                break
            await asyncio.sleep(0.05)
    assert await tally.add("0", 1000, ONE) == ONE


async def test_figures_of_all_nodes_are_summed_whoever_asks(tallies):
    nodes = [tallies.make(f"node-{number}") for number in range(3)]
    for number in range(1, 11):
        await asyncio.gather(*(node.add("0", number, BAD) for node in nodes))
    for node in nodes:
        assert (await node.add("0", 11, Figures()))["turns"] == 30


async def test_what_is_kept_is_bounded_and_expires(tallies):
    node = tallies.make("one", 1.2)
    everything = Figures(dict.fromkeys(NAMES, 1))
    for number in range(1, 30):
        await node.add("0", number, everything)
        await asyncio.sleep(0.1)
    redis = tallies.clients[0].commands
    keys = [key async for key in redis.scan_iter(f"{tallies.prefix}*")]
    assert 2 <= len(keys) <= BUCKETS + 2, "a hash for each bucket, and who was seen"
    lives_ms = [await redis.pttl(key) for key in keys]
    assert all(life_ms == GONE or 0 < life_ms <= 1300 for life_ms in lives_ms)
    assert max([await redis.hlen(key) for key in keys if b"sums" in key]) == len(NAMES)


async def test_a_figure_of_another_make_is_not_minded(tallies):
    node = tallies.make("one")
    await node.add("0", 1, ONE)
    redis = tallies.clients[0].commands
    async for key in redis.scan_iter(f"{tallies.prefix}guard:sums:*"):
        await redis.hset(key, "something", 7)
    assert await node.add("0", 2, Figures()) == ONE
