"""Two bridges in a backend's place: a chat-server whose bridge dies asks the other for the same request."""

import asyncio
import signal

import aiohttp
import pytest
from bridge_process import node
from end_to_end_apps import Device, backend_at, stored
from redis_server import redis_server
from test_cluster import heard_rightly

from backend_stub.model import Pace
from tests.held_model import HeldModel

pytestmark = pytest.mark.needs("redis-server")
POST = {"roomId": "r", "content": "Hello", "requestId": "q-1"}


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(60, 40, 0.05), grace_s=20) as backend:
        yield backend


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


async def posted(address):
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        session.post(f"{address}/chat/messages", json=POST) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_post_to_each_of_two_bridges_is_one_turn_and_one_message(backend, redis):
    given = {"BRIDGE_BACKEND_PROFILE": "default"}  # whose message is made of what the stream told
    async with (
        node(backend, redis, **given) as one,
        node(backend, redis, **given) as two,
        Device.at(two.address) as there,
    ):
        first = asyncio.create_task(posted(one.address))
        await there.until("ai_message_chunk", "q-1")
        answers = [await posted(two.address), await first]
        answers.append(await posted(two.address))
        assert answers[0] == answers[1] == answers[2]
        assert answers[0][1]["content"] == heard_rightly(there, "q-1")
        assert answers[0][1]["messageId"] == there.of("ai_message_end", "q-1")[0]["messageId"]
    assert backend.tally.calls["q-1"].posts == 1


async def test_a_repeat_after_the_bridge_was_killed_gets_the_message_that_the_room_heard(backend, redis):
    backend._provider = model = HeldModel()
    model.begins.set()
    async with node(backend, redis) as one, node(backend, redis) as two, Device.at(two.address) as there:
        first = asyncio.create_task(posted(one.address))
        await there.until("ai_message_chunk", "q-1")
        one.send(signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await first
        model.goes_on.set()
        status, message = await posted(two.address)
        row = await stored(backend, "r", "q-1")
        assert (status, message) == (200, {name: row[name] for name in message})
        assert heard_rightly(there, "q-1") == message["content"]
        assert there.of("ai_message_start", "q-1")[0]["messageId"] == message["messageId"]
        assert not there.of("new_message", "q-1")
    assert backend.tally.calls["q-1"].answers == 1
