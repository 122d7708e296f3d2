"""What others emit through a bridge, beside the turns, reaches the devices of every bridge."""

import asyncio
import contextlib

import pytest
from end_to_end_apps import running
from redis_server import redis_server
from socket_io_device import node_device
from socketio import AsyncClient

pytestmark = pytest.mark.needs("redis-server")


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


@contextlib.asynccontextmanager
async def device(address, heard):
    sio = AsyncClient(reconnection=False)
    sio.on("*", lambda *said: heard.put_nowait(said))
    sio.on("disconnect", lambda _: heard.put_nowait("disconnected"))
    await sio.connect(address, transports=["websocket"], wait_timeout=60)
    try:
        yield sio
    finally:
        await sio.disconnect()


async def test_devices_of_every_bridge_hear_what_is_emitted_through_one(backend, redis):
    here, there = asyncio.Queue(), asyncio.Queue()
    async with (
        asyncio.timeout(60),
        running(backend.url, redis_url=redis.url) as one,
        running(backend.url, redis_url=redis.url) as two,
        device(one.address, here),
        device(two.address, there) as far,
    ):
        assert (await far.call("join_room", {"roomId": "r"}))["ok"]
        await one.sio.emit("notice", {"text": "안녕"})
        await one.sio.enter_room(far.get_sid(), "staff")
        await one.sio.emit("notice", {"text": "for staff"}, to="staff")
        assert await here.get() == ("notice", {"text": "안녕"})
        assert await there.get() == ("notice", {"text": "안녕"})
        assert await there.get() == ("notice", {"text": "for staff"})
        answered = asyncio.Queue()
        far.on("ask", lambda question: f"{question} yes")
        await one.sio.emit("ask", "there?", to=far.get_sid(), callback=answered.put)
        assert await answered.get() == "there? yes"
        await one.sio.disconnect(far.get_sid())
        assert await there.get() == "disconnected"
        while two.rooms.devices:
            await asyncio.sleep(0.01)
        assert here.empty()


@pytest.mark.needs("node")
@pytest.mark.needs("socket.io-client")
async def test_the_client_of_npm_hears_them_too(backend, redis):
    async with (
        running(backend.url, redis_url=redis.url) as one,
        running(backend.url, redis_url=redis.url) as two,
        node_device(two.address) as far,
    ):
        await one.sio.emit("new_message", {"text": "hello"})
        await far.until(lambda line: line.get("data") == {"text": "hello"})


async def test_a_bridge_alone_emits_to_its_own(backend):
    heard = asyncio.Queue()
    async with asyncio.timeout(60), running(backend.url) as one, device(one.address, heard):
        await one.sio.emit("notice", 1)
        assert await heard.get() == ("notice", 1)
