"""The flag in every store that has one, and what only the shared one can lose."""

import asyncio

import pytest
from redis_server import redis_server

from bridge.changes import HISTORY_LENGTH, Edit, Reason
from bridge.errors import StoreUnavailable
from bridge.redis_client import RedisClient
from bridge.rollout import Listed, Rollout

OPS = Reason("ops", "a test")
ON, OFF = Edit("on"), Edit("off")


async def until(holds):
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.005)


async def obeys(flag, value):
    return (await flag.state()).rollout.value == value


async def test_the_default_holds_until_it_is_changed(flag):
    state = await flag.state()
    assert (state.rollout, state.source, state.history) == (Rollout("off"), "default", ())
    assert not await flag.streaming("room", "")
    state = await flag.change(ON, OPS)
    assert (state.rollout.value, state.source, state.default) == ("on", "run-time", Rollout("off"))
    assert await flag.streaming("room", "")


async def test_a_change_keeps_who_when_why_and_from_which_value(flag):
    await flag.change(ON, OPS)
    state = await flag.change(Edit(25, allow=Listed(frozenset({"vip"}))), Reason("her", "less"))
    latest, first = state.history
    assert (first.before, first.rollout, first.reason) == (Rollout("off"), Rollout("on"), OPS)
    assert (latest.before, latest.rollout.value, latest.reason) == (Rollout("on"), 25, Reason("her", "less"))
    assert first.when <= latest.when
    assert latest.when.startswith("20")
    assert latest.when.endswith("Z")
    assert await flag.streaming("vip", "")


async def test_what_changes_nothing_is_not_kept(flag):
    await flag.change(OFF, OPS)  # it was off by default only: now it stays off whatever the default becomes
    state = await flag.change(OFF, OPS)
    assert [change.rollout.value for change in state.history] == ["off"]


async def test_each_change_is_told_once(flag):
    for edit in (ON, OFF, ON):
        await flag.change(edit, OPS)
    await asyncio.sleep(0.05)
    assert [change.rollout.value for change in flag.heard] == ["on", "off", "on"]


async def test_the_history_is_capped(flag):
    for number in range(HISTORY_LENGTH + 20):
        await flag.change(Edit(number % 100), OPS)
    state = await flag.state()
    assert len(state.history) == HISTORY_LENGTH
    assert state.history[0].rollout.value == 19


async def test_a_change_reaches_every_node_and_those_that_come_later(flags):
    nodes = [await flags.make() for _ in range(3)]
    await nodes[0].change(Edit(25), OPS)
    for node in nodes:
        await until(lambda node=node: obeys(node, 25))
    late = await flags.make("on")
    assert (await late.state()).rollout.value == 25
    assert not late.heard
    assert [len(node.heard) for node in nodes] == [1, 1, 1]
    assert (await late.state()).history == (await nodes[0].state()).history


async def test_an_operator_needs_no_running_node(flags):
    operator = await flags.make(start=False)
    assert (await operator.state()).source == "default"
    await operator.change(ON, OPS)
    assert (await (await flags.make()).state()).rollout.value == "on"


async def test_changes_at_the_same_moment_are_all_kept(flags):
    nodes = [await flags.make() for _ in range(4)]
    edits = [Edit(allow=Listed(frozenset({f"room-{number}"}))) for number in range(4)]
    await asyncio.gather(*(node.change(edit, OPS) for node, edit in zip(nodes, edits, strict=True)))
    for node in nodes:
        await until(lambda node=node: _has(node, 4))
    assert len({str((await node.state()).rollout) for node in nodes}) == 1


async def test_of_changes_decided_on_the_same_version_one_is_made(flags):
    nodes = [await flags.make("on") for _ in range(4)]
    for value in ("off", 25):
        version = (await nodes[0].state()).version
        for node in nodes:
            await until(lambda node=node, version=version: _knows(node, version))
        edit = Edit(value, at=version)
        reasons = [Reason("guard", f"seen by {number}") for number in range(4)]
        asked = (node.change(edit, reason) for node, reason in zip(nodes, reasons, strict=True))
        states = await asyncio.gather(*asked)
        assert len({state.history[0].reason for state in states}) == 1
        assert {state.history[0].rollout.value for state in states} == {value}
    assert len((await nodes[0].state()).history) == 2


async def _knows(node, version):
    return (await node.state()).version == version


async def test_a_change_that_comes_too_late_is_not_made(flag):
    assert (await flag.change(Edit("on", at=""), OPS)).rollout.value == "on"
    assert (await flag.change(Edit(25, at=""), OPS)).rollout.value == "on"
    version = (await flag.state()).version
    assert (await flag.change(Edit(25, at=version), OPS)).rollout.value == 25


async def _has(node, count):
    return len((await node.state()).rollout.allow) == count


async def test_the_flag_is_the_one_key_without_a_ttl_and_is_capped(flags):
    node = await flags.make()
    for number in range(HISTORY_LENGTH + 20):
        await node.change(Edit(number % 100), OPS)
    redis = flags.commands
    assert [key async for key in redis.scan_iter(f"{flags.prefix}*")] == [f"{flags.prefix}flag".encode()]
    assert await redis.ttl(f"{flags.prefix}flag") == -1
    assert await redis.xlen(f"{flags.prefix}flag") == HISTORY_LENGTH


async def test_what_redis_lost_a_living_node_writes_anew(flags):
    one, two = await flags.make(), await flags.make()
    for edit in (ON, Edit(25), Edit(50)):
        await one.change(edit, OPS)
    await until(lambda: obeys(two, 50))
    redis = flags.commands
    await redis.delete(f"{flags.prefix}flag")

    async def kept():
        return await redis.xlen(f"{flags.prefix}flag") == 3

    await until(kept)
    new = await flags.make()
    assert (await new.state()).history == (await one.state()).history


async def test_a_change_that_redis_got_after_its_loss_stands(flags):
    node = await flags.make()
    await node.change(ON, OPS)
    await flags.commands.delete(f"{flags.prefix}flag")
    operator = await flags.make(start=False)
    await operator.change(Edit(10), OPS)
    await until(lambda: obeys(node, 10))
    assert [change.rollout.value for change in (await node.state()).history] == [10, "on"]


async def test_a_change_of_another_make_is_skipped(flags):
    node = await flags.make()
    await node.change(ON, OPS)
    planted = ["", "[]", "7", "{}", '{"value": "maybe"}', "[" * 50_000]
    for text in planted:
        await flags.commands.xadd(f"{flags.prefix}flag", {"change": text})
    await flags.commands.xadd(f"{flags.prefix}flag", {"something": "else"})
    await node.change(Edit(25), OPS)
    assert (await node.state()).rollout.value == 25
    assert node.unreadable == len(planted) + 1


@pytest.mark.needs("redis-server")
@pytest.mark.parametrize("persistent", [True, False], ids=["with AOF", "all lost"])
async def test_a_restart_of_redis_changes_nothing(flags_of, tmp_path, persistent):
    with redis_server(tmp_path) as server:
        flags = flags_of(lambda: RedisClient(server.url))
        one, two = await flags.make(), await flags.make()
        await one.change(Edit(25), OPS)
        await until(lambda: obeys(two, 25))
        await asyncio.sleep(1.2 if persistent else 0)  # its AOF is written once a second
        server.kill()
        if not persistent:
            for file in (tmp_path / "appendonlydir").iterdir():
                file.unlink()
        assert not await one.streaming(42, "")  # the 37th of a hundred
        assert await one.streaming(1, "")  # the 13th: by the last known value, not by the default
        with pytest.raises(StoreUnavailable):
            await two.change(ON, OPS)
        server.start()
        new = await flags.make()
        await until(lambda: obeys(new, 25))
        await new.change(Edit(50), OPS)
        for node in (one, two):
            await until(lambda node=node: obeys(node, 50))
        assert [len((await node.state()).history) for node in (one, two, new)] == [2, 2, 2]


@pytest.mark.needs("redis-server")
async def test_a_node_that_comes_up_without_redis_uses_the_default_and_learns_later(flags_of, tmp_path):
    with redis_server(tmp_path) as server:
        flags = flags_of(lambda: RedisClient(server.url))
        await (await flags.make()).change(ON, OPS)
        await asyncio.sleep(1.2)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await flags.make()
        late, _ = flags.opened[-1]
        assert not await late.streaming("room", "")
        server.start()
        await until(lambda: obeys(late, "on"))
