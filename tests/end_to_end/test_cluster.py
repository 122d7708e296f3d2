"""Several bridge processes, one Redis: one truth, whatever dies."""

import asyncio
import signal

import aiohttp
import pytest
from bridge_process import LEASE_S, node
from end_to_end_apps import Device, backend_at, stored
from redis_server import redis_server

from backend_stub.model import Pace

BUSY_S = 20.0
"""What a busy machine may add to a pause; the pauses themselves are measured by `tests.cluster.nemesis`."""
pytestmark = pytest.mark.needs("redis-server")


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(60, 40, 0.05), grace_s=20) as backend:
        yield backend


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


def heard_rightly(device, request_id):
    """Check the first law; return the text."""
    assert len(device.of("ai_message_start", request_id)) == 1
    (end,) = device.of("ai_message_end", request_id)
    seq, text = 0, ""
    for chunk in device.of("ai_message_chunk", request_id):
        assert chunk.get("fromSeq", chunk["seq"]) == seq + 1
        seq, text = chunk["seq"], text + chunk["delta"]
    assert text == end["content"]
    return text


async def test_devices_of_one_room_on_two_nodes_hear_the_same(backend, redis):
    async with (
        node(backend, redis) as one,
        node(backend, redis) as two,
        Device.at(one.address) as here,
        Device.at(two.address) as there,
    ):
        await here.send("r-1", "Hello")
        await there.until("ai_message_chunk", "r-1")
        async with Device.at(two.address) as late, Device.at(one.address) as later:
            for device in (here, there, late, later):
                await device.end_of("r-1")
            texts = {heard_rightly(device, "r-1") for device in (here, there, late, later)}
        assert texts == {(await stored(backend, "r", "r-1"))["content"]}
        assert [data["content"] for data in there.of("new_message", "r-1") if data["role"] == "user"] == [
            "Hello"
        ]


async def test_one_request_from_two_nodes_is_one_call(backend, redis):
    async with (
        node(backend, redis) as one,
        node(backend, redis) as two,
        Device.at(one.address) as here,
        Device.at(two.address) as there,
    ):
        asked = [f"r-{number}" for number in range(4)]
        await asyncio.gather(*(device.send(name, "Hello") for name in asked for device in (here, there)))
        for name in asked:
            for device in (here, there):
                await device.end_of(name)
                heard_rightly(device, name)
            assert (backend.tally.calls[name].posts, backend.tally.calls[name].answers) == (1, 1)


async def test_a_stop_from_another_node_ends_the_turn_everywhere(backend, redis):
    async with (
        node(backend, redis) as one,
        node(backend, redis) as two,
        Device.at(one.address) as here,
        Device.at(two.address) as there,
    ):
        await here.send("r-1", "Hello", tokens=2000)
        await there.until("ai_message_chunk", "r-1")
        await there.call("stop_message", {"roomId": "r", "requestId": "r-1"})
        for device in (here, there):
            assert (await device.end_of("r-1"))["finishReason"] == "cancelled"
            heard_rightly(device, "r-1")


TOKENS = {"reference": 60, "default": 4000}
"""How long an answer is: what is to be interrupted must not be over before."""


@pytest.mark.parametrize("profile", TOKENS)
async def test_the_turn_of_a_killed_node_goes_on_with_another(backend, redis, profile):
    given = {"BRIDGE_BACKEND_PROFILE": profile}
    async with (
        node(backend, redis, **given) as one,
        node(backend, redis, **given) as two,
        Device.at(two.address) as there,
    ):
        async with Device.at(one.address) as here:
            await here.send("r-1", "Hello", tokens=TOKENS[profile])
            await there.until("ai_message_chunk", "r-1")
            await asyncio.sleep(0.3)
            one.send(signal.SIGKILL)
        end = await there.end_of("r-1")
        text = heard_rightly(there, "r-1")
        assert end["messageId"] == there.of("ai_message_start", "r-1")[0]["messageId"]
        if profile == "reference":
            assert (end["finishReason"], text) == ("stop", (await stored(backend, "r", "r-1"))["content"])
            assert there.longest_gap_s("r-1") <= LEASE_S + BUSY_S
        else:
            assert end["finishReason"] == "interrupted"
            assert text
        assert backend.tally.calls["r-1"].answers == 1


async def test_a_node_that_goes_down_hands_its_turns_over(backend, redis):
    async with (
        node(backend, redis) as one,
        node(backend, redis) as two,
        Device.at(two.address) as there,
    ):
        async with Device.at(one.address) as here:
            await here.send("r-1", "Hello")
            await there.until("ai_message_chunk", "r-1")
            one.send(signal.SIGTERM)
            end = await there.end_of("r-1")
        assert end["finishReason"] == "stop"
        assert heard_rightly(there, "r-1") == (await stored(backend, "r", "r-1"))["content"]
        assert await one.process.wait() == 0


async def test_an_owner_that_slept_beyond_its_lease_is_not_heard(backend, redis):
    async with (
        node(backend, redis) as one,
        node(backend, redis) as two,
        Device.at(one.address) as here,
        Device.at(two.address) as there,
    ):
        await here.send("r-1", "Hello")
        await there.until("ai_message_chunk", "r-1")
        one.send(signal.SIGSTOP)
        await asyncio.sleep(LEASE_S * 1.5)
        one.send(signal.SIGCONT)
        for device in (here, there):
            assert (await device.end_of("r-1"))["finishReason"] == "stop"
        assert heard_rightly(there, "r-1") == heard_rightly(here, "r-1")
        assert heard_rightly(here, "r-1") == (await stored(backend, "r", "r-1"))["content"]


async def test_a_node_whose_redis_is_gone_lives_says_so_and_serves_its_own_devices(backend, redis):
    async with node(backend, redis) as one, Device.at(one.address) as here, aiohttp.ClientSession() as http:
        redis.kill()
        await here.send("r-1", "Hello")
        assert (await here.end_of("r-1"))["finishReason"] == "stop"
        heard_rightly(here, "r-1")
        assert here.longest_gap_s("r-1") < BUSY_S
        async with asyncio.timeout(60):
            while (await (await http.get(f"{one.address}/readyz")).json())["ready"]:
                await asyncio.sleep(0.1)
        redis.start()
        async with asyncio.timeout(60):
            while not (await (await http.get(f"{one.address}/readyz")).json())["ready"]:
                await asyncio.sleep(0.1)
        async with Device.at(one.address) as late:
            wanted = {"roomId": "r", "messageId": late_name(here), "seq": 0}
            async with asyncio.timeout(60):
                while not (await late.call("resume", wanted))["recovered"]:
                    await asyncio.sleep(0.1)
            assert late.text_of("r-1", merged=True) == here.text_of("r-1")


def late_name(device):
    return device.of("ai_message_end", "r-1")[0]["messageId"]


LAG = """
local function cut(key)
  for _, entry in ipairs(redis.call('XREVRANGE', key, '+', '-', 'COUNT', 3)) do
    redis.call('XDEL', key, entry[1])
  end
end
for _, key in ipairs(redis.call('KEYS', 'bridge:journal:*')) do cut(key) end
for _, key in ipairs(redis.call('KEYS', 'bridge:inbox:*')) do cut(key) end
for _, key in ipairs(redis.call('KEYS', 'bridge:turn:*')) do redis.call('HINCRBY', key, 'last', -3) end
for _, key in ipairs(redis.call('KEYS', 'bridge:node:*')) do redis.call('HINCRBY', key, 'letters', -3) end
"""
"""What a replica that becomes the master did not get in time."""


@pytest.mark.parametrize("trouble", ["flush", "restart", "pause", "failover to a replica that lagged"])
async def test_redis_in_trouble_loses_nothing(backend, redis, trouble):
    async with (
        node(backend, redis) as one,
        node(backend, redis) as two,
        Device.at(one.address) as here,
        Device.at(two.address) as there,
    ):
        await here.send("r-1", "Hello")
        await there.until("ai_message_chunk", "r-1")
        if trouble.startswith("failover"):
            await asyncio.sleep(0.5)
            redis.command("EVAL", LAG, "0")
        elif trouble == "flush":
            redis.command("FLUSHALL")
        elif trouble == "pause":
            redis.send(signal.SIGSTOP)
            await here.end_of("r-1")
            redis.send(signal.SIGCONT)
        else:
            redis.kill()
            await asyncio.sleep(0.5)
            redis.start()
        for device in (here, there):
            assert (await device.end_of("r-1"))["finishReason"] == "stop"
        assert heard_rightly(there, "r-1") == heard_rightly(here, "r-1")
        assert here.longest_gap_s("r-1") < BUSY_S
