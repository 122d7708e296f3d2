"""Two bridge processes, one Redis, the reference backend: what trips the guard, and what does not."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web
from bridge_process import node
from end_to_end_apps import Device, backend_at
from redis_server import redis_server

from backend_stub.model import Pace

pytestmark = [pytest.mark.needs("redis-server"), pytest.mark.timeout(240)]
BEARER = {"Authorization": "Bearer secret"}
WINDOW_S = 10.0
BUSY_S = 60.0
"""What a busy machine may add."""
GUARDED = {
    "BRIDGE_ADMIN_TOKEN": "secret",
    "BRIDGE_GUARD_WINDOW_S": str(WINDOW_S),
    "BRIDGE_GUARD_SAMPLE": "20",
    "BRIDGE_GUARD_FIRST_TEXT_S": "30",  # a busy machine is slow, and that is not what is shown here
    "BRIDGE_GUARD_COMPLETION_S": "30",
    "BRIDGE_EVENTS_PER_SECOND": "10000",
    "BRIDGE_EVENTS_BURST": "10000",
}


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(3, 0, 0.0), grace_s=0) as backend:
        yield backend


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


class Pair:
    """Two nodes, and devices of each."""

    def __init__(self, http, nodes, devices):
        self.http, self.nodes, self.devices = http, nodes, devices

    async def turns(self, count, **asked):
        """Have ``count`` turns, a few at once on each node."""
        numbers = iter(range(count))

        async def one_after_another(device):
            for number in numbers:
                name = f"{id(numbers)}-{number}"
                await device.send(name, "Hello", room_id=device.room_id, **asked)
                await device.answer_or_end_of(name)

        await asyncio.gather(*(one_after_another(device) for device in self.devices))

    async def flag(self, node, **put):
        at = f"{node.address}/admin/flag"
        async with self.http.put(at, json=put) if put else self.http.get(at) as answer:
            return await answer.json()

    async def figure(self, node, name):
        async with self.http.get(f"{node.address}/metrics") as answer:
            text = await answer.text()
        return float(text.partition(f"\n{name} ")[2].partition("\n")[0])

    async def tripped(self):
        """Wait until both nodes obey the guard; return the history that both have."""
        async with asyncio.timeout(WINDOW_S + BUSY_S):
            while [(await self.flag(each))["value"] for each in self.nodes] != ["off", "off"]:
                await asyncio.sleep(0.05)
        one, two = [(await self.flag(each))["history"] for each in self.nodes]
        assert one == two
        return one


class Asker(Device):
    """A device in a room of its own."""

    async def answer_or_end_of(self, name):
        """Wait for the last word of a turn, by whichever path."""

        def said():
            answers = [data for data in self.of("new_message", name) if data["role"] == "assistant"]
            return answers or self.of("ai_message_end", name)

        return await self._first(said)


@contextlib.asynccontextmanager
async def pair(backend, redis, **given):
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(backend, redis, **GUARDED, **given)) for _ in range(2)]
        devices = []
        for number in range(6):
            room_id = f"room-{number}"
            device = await stack.enter_async_context(Asker.at(nodes[number % 2].address, room_id))
            device.room_id = room_id
            devices.append(device)
        http = await stack.enter_async_context(aiohttp.ClientSession(headers=BEARER))
        yield Pair(http, nodes, devices)


@contextlib.asynccontextmanager
async def webhook():
    """Keep what a webhook is told."""
    told = []

    async def take(request):
        told.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", told
    finally:
        await runner.cleanup()


async def test_a_storm_of_faults_trips_both_nodes_once_and_running_turns_go_on(backend, redis):
    async with webhook() as (url, told), pair(backend, redis, BRIDGE_GUARD_WEBHOOK=url) as bridges:
        await bridges.turns(30)
        running = bridges.devices[0]
        slow = {"tokens": 60, "tokensPerSecond": 10, "firstTokenSeconds": 0}
        await running.send("slow", "Hello", room_id=running.room_id, **slow)
        await running.until("ai_message_chunk", "slow")
        backend.fault = "error;on=both"
        await bridges.turns(60)
        (change,) = await bridges.tripped()
        backend.fault = "none"
        assert (change["who"], change["value"], change["from"]["value"]) == ("guard", "off", "on")
        assert "failed turns" in change["why"]
        trips = [await bridges.figure(each, "bridge_guard_trips_total") for each in bridges.nodes]
        assert sorted(trips) == [0, 1]
        async with asyncio.timeout(BUSY_S):
            while not told:
                await asyncio.sleep(0.01)
            while [await bridges.figure(each, "bridge_guard_state") for each in bridges.nodes] != [3, 3]:
                await asyncio.sleep(0.1)
        assert (await running.end_of("slow"))["finishReason"] == "stop", "by the path it began on"
        await bridges.turns(30)
        assert len((await bridges.flag(bridges.nodes[0]))["history"]) == len(told) == 1
        await bridges.flag(bridges.nodes[1], value="on", why="mended")
        await asyncio.sleep(1.5)
        await bridges.turns(60)
        await asyncio.sleep(1.5)
        history = (await bridges.flag(bridges.nodes[0]))["history"]
        assert [each["value"] for each in history] == ["on", "off"], "old figures do not count again"


async def test_a_calm_run_never_trips(backend, redis):
    async with pair(backend, redis) as bridges:
        await bridges.turns(1000)
        await asyncio.sleep(2)
        for each in bridges.nodes:
            assert (await bridges.flag(each))["history"] == []
            async with asyncio.timeout(BUSY_S):
                while await bridges.figure(each, "bridge_guard_state") != 1:
                    await asyncio.sleep(0.1)


@pytest.mark.parametrize("profile", ["trpc", "openai_responses"])
async def test_duplicated_text_trips_the_integrity_detector(backend, redis, profile):
    async with pair(backend, redis, BRIDGE_BACKEND_PROFILE=profile, OPENAI_API_KEY="k") as bridges:
        backend.fault = "duplicate"
        await bridges.turns(60)
        (change,) = await bridges.tripped()
        assert "text differs from the backend's" in change["why"]


async def test_a_dry_run_changes_nothing(backend, redis):
    async with pair(backend, redis, BRIDGE_GUARD="dry-run") as bridges:
        backend.fault = "error;on=both"
        await bridges.turns(60)
        async with asyncio.timeout(WINDOW_S + BUSY_S):
            while not any(
                [await bridges.figure(each, "bridge_guard_refrained_total") for each in bridges.nodes]
            ):
                await asyncio.sleep(0.05)
        assert [(await bridges.flag(each))["value"] for each in bridges.nodes] == ["on", "on"]
