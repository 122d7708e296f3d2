"""``serve --processes``: clients need nothing for it, one that dies costs nothing, signals reach all."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from bridge_process import node
from end_to_end_apps import Device, backend_at, stored
from redis_server import redis_server
from socket_io_device import node_device

from backend_stub.model import Pace
from tests.held_model import GrowingModel
from tests.held_ports import held_ports

pytestmark = [
    pytest.mark.needs("redis-server"),
    pytest.mark.skipif(sys.platform != "linux", reason="no other system spreads connections"),
]
POLLING = "/socket.io/?EIO=4&transport=polling"
TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(first_token_s=0.05)) as backend:
        yield backend


def two(backend, redis, **given):
    return node(backend, redis, BRIDGE_PROCESSES="2", **given)


@pytest.fixture
def first_port():
    """Give the first of two ports in a row that stay free until the test uses them."""
    with held_ports(0, 1) as first:
        yield first


def processes_of(bridge):
    """Return the pids of a parent's processes by their numbers."""
    found = {}
    pid = bridge.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split():
        with contextlib.suppress(OSError):
            said = Path(f"/proc/{child}/cmdline").read_text("utf-8").split("\0")
            if "--place" in said:
                found[said[said.index("--place") + 1].rpartition("/")[2]] = int(child)
    return found


def gone(pids):
    return not any(Path(f"/proc/{pid}").exists() for pid in pids.values())


async def until(seen):
    async with asyncio.timeout(60):
        while not (found := seen()):
            await asyncio.sleep(0.05)
    return found


@contextlib.asynccontextmanager
async def device_on(number, address):
    """Connect until the process ``number`` has the device."""
    while True:
        async with Device.at(address) as device:
            if device.sid.startswith(f"{number}."):
                yield device
                return


@contextlib.asynccontextmanager
async def fresh():
    """Give what asks each time over a connection of its own, which goes to either process."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield http


async def opened(http, address):
    async with http.get(address + POLLING) as response:
        return json.loads((await response.text())[1:])["sid"]


async def said(http, address, sid, body):
    async with http.post(f"{address}{POLLING}&sid={sid}", data=body) as response:
        return response.status


@pytest.mark.needs("node")
@pytest.mark.needs("socket.io-client")
async def test_stock_clients_of_every_transport_hear_the_same(backend, redis):
    async with two(backend, redis) as bridge, contextlib.AsyncExitStack() as stack:
        devices = [
            await stack.enter_async_context(node_device(bridge.address, transports=each))
            for each in TRANSPORTS * 3
        ]
        for device in devices:
            assert (await device.call("join_room", {"roomId": "r"}))["ok"]
        for device in devices[2::3]:
            await device.until(lambda line: line.get("upgraded") == "websocket")
        asked = {"roomId": "r", "content": "hello", "requestId": "r-1", "tokens": 40}
        await devices[1].call("send_message", asked)
        for device in devices:
            end = await device.until(lambda line: line.get("event") == "ai_message_end")
            text = "".join(chunk["delta"] for chunk in device.of("ai_message_chunk"))
            assert text == end["data"]["content"]
        assert text == (await stored(backend, "r", "r-1"))["content"]


async def test_each_request_of_a_session_reaches_the_process_that_has_it(backend, redis):
    async with two(backend, redis) as bridge, fresh() as http:
        sids = [await opened(http, bridge.address) for _ in range(12)]
        assert {sid.partition(".")[0] for sid in sids} == {"0", "1"}
        for sid in sids:
            assert await said(http, bridge.address, sid, '40{"streaming":true}') == 200
            large = json.dumps(["join_room", {"roomId": "r", "more": "x" * 300_000}])
            assert await said(http, bridge.address, sid, f"420{large}") == 200
            heard = ""
            while "430[" not in heard:
                async with http.get(f"{bridge.address}{POLLING}&sid={sid}") as response:
                    heard += await response.text()
            assert '"ok":true' in heard


async def test_a_device_that_changes_its_transport_stays_with_its_process(backend, redis):
    async with two(backend, redis) as bridge, fresh() as http:
        for _ in range(12):
            sid = await opened(http, bridge.address)
            where = f"{bridge.address}/socket.io/?EIO=4&transport=websocket&sid={sid}"
            async with http.ws_connect(where) as ws:
                await ws.send_str("2probe")
                assert await ws.receive_str(timeout=60) == "3probe"


async def test_a_session_that_nobody_has_is_unknown(backend, redis):
    sids = ["0.unknown", "1.unknown", "7.unknown", "99999999999999999999.x", "..", ".0", "x"]
    async with two(backend, redis) as bridge, fresh() as http:
        for sid in sids * 4:
            assert await said(http, bridge.address, sid, "3") == 400


async def test_a_killed_process_is_started_again_and_its_turn_goes_on_in_the_other(backend, redis):
    async with two(backend, redis) as bridge:
        pids = await until(lambda: len(found := processes_of(bridge)) == 2 and found)
        async with device_on(1, bridge.address) as stays, device_on(0, bridge.address) as goes:
            await goes.send("r-1", "hello", tokens=200)
            await stays.until("ai_message_chunk", "r-1")
            os.kill(pids["0"], signal.SIGKILL)
            end = await stays.end_of("r-1")
            assert stays.text_of("r-1", merged=True) == end["content"]
            assert end["finishReason"] == "stop"
        again = await until(lambda: len(found := processes_of(bridge)) == 2 and found)
        assert again["1"] == pids["1"]
        assert again["0"] != pids["0"]
        async with asyncio.timeout(60), device_on(0, bridge.address) as back:
            await back.send("r-2", "hello")
            assert (await back.end_of("r-2"))["finishReason"] == "stop"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_all_and_nothing_is_lost(backend, redis, number):
    backend._provider = GrowingModel()
    async with two(backend, redis) as bridge:
        pids = await until(lambda: len(found := processes_of(bridge)) == 2 and found)
        async with device_on(0, bridge.address) as one, device_on(1, bridge.address) as other:
            await one.send("r-1", "hello")
            await other.send("r-2", "hello")
            await one.until("ai_message_chunk", "r-2")
            await other.until("ai_message_chunk", "r-1")
            bridge.send(number)
            assert await asyncio.wait_for(bridge.process.wait(), 60) == 0
        assert gone(pids)
        async with node(backend, redis) as next_one, Device.at(next_one.address) as device:
            backend._provider.ends.set()
            for request_id in ("r-1", "r-2"):
                end = await device.end_of(request_id)
                assert device.text_of(request_id, merged=True) == end["content"]
                assert end["content"] == (await stored(backend, "r", request_id))["content"]


async def test_processes_end_when_their_parent_is_killed(backend, redis):
    async with two(backend, redis) as bridge:
        pids = await until(lambda: len(found := processes_of(bridge)) == 2 and found)
        bridge.send(signal.SIGKILL)
        await until(lambda: gone(pids))


async def test_each_process_has_figures_of_its_own(backend, redis, first_port):
    async with (
        two(backend, redis, BRIDGE_ADMIN_PORT=str(first_port)) as bridge,
        fresh() as http,
        device_on(1, bridge.address),
    ):
        for number, devices in ((0, 0), (1, 1)):
            figures = f"http://127.0.0.1:{first_port + number}/metrics"
            async with asyncio.timeout(60):  # who tried the other process leaves it a moment later
                while f"\nbridge_devices {devices}.0\n" not in await text_at(http, figures):
                    await asyncio.sleep(0.05)
            async with http.get(f"http://127.0.0.1:{first_port + number}/readyz") as response:
                assert response.status == 200


async def text_at(http, address):
    async with http.get(address) as response:
        return await response.text()


async def test_figures_of_nobody_knows_which_process_are_not_shown(backend, redis):
    async with (
        two(backend, redis) as bridge,
        fresh() as http,
        http.get(f"{bridge.address}/metrics") as response,
    ):
        assert response.status == 404
        assert "BRIDGE_ADMIN_PORT" in (await response.json())["error"]["message"]


async def serve(*arguments, **given):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "serve", *arguments,
        env={**clean, "PORT": "0", **given}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    return process.returncode, err.decode()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"REDIS_URL": ""}, "it needs REDIS_URL"),
        ({"BRIDGE_ADMIN_PORT": "65535"}, "BRIDGE_ADMIN_PORT=65535"),
        ({"PORT": "9101", "BRIDGE_ADMIN_PORT": "9100"}, "BRIDGE_ADMIN_PORT=9100"),
    ],
)  # fmt: skip
async def test_settings_that_several_cannot_have_are_refused(given, why):
    status, err = await serve("--processes", "2", **{"REDIS_URL": "redis://127.0.0.1:1/0", **given})
    assert status == 2
    assert why in err


async def test_a_port_that_is_taken_is_refused_even_where_it_could_be_shared(backend, redis):
    async with two(backend, redis) as bridge:
        port = bridge.address.rpartition(":")[2]
        status, err = await serve("--processes", "2", "--port", port, REDIS_URL=redis.url)
    assert status == 1
    assert "the port is in use" in err


async def test_one_that_cannot_start_ends_all(redis, first_port):
    first = first_port
    with socket.create_server(("127.0.0.1", first + 1)):
        status, err = await serve(
            "--processes", "2", REDIS_URL=redis.url, BRIDGE_ADMIN_PORT=str(first), BRIDGE_DRAIN_S="0.3"
        )
    assert status == 1
    assert f"unable to listen on 127.0.0.1:{first + 1}" in err
    assert "unable to start process 1; it ended with status 1" in err
