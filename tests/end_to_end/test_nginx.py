"""``config/nginx.conf`` in front of two nodes: who polls stays with its node, who is left finds another."""

import asyncio
import contextlib
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import aiohttp
import pytest
from bridge_process import node
from redis_server import redis_server
from socket_io_device import node_device

from tests.held_ports import held_port

CONFIG = Path(__file__).resolve().parents[2] / "config" / "nginx.conf"
pytestmark = [pytest.mark.needs("nginx"), pytest.mark.needs("redis-server")]
EVERY = {
    "websocket": {"transports": ["websocket"]},
    "polling": {"transports": ["polling"]},
    "upgrade": {"transports": ["polling", "websocket"]},
}


@contextlib.contextmanager
def nginx(folder, listen, ports):
    """Run the file with other ports; the rest of it is as it is shipped."""
    text = CONFIG.read_text("utf-8")
    for shipped, ours in zip(("127.0.0.1:5000", "127.0.0.1:5001"), ports, strict=True):
        assert text.count(shipped) == 2
        text = text.replace(shipped, f"127.0.0.1:{ours}")
    text = text.replace("/var/log/nginx", str(folder))
    text = text.replace("listen 80;", f"listen 127.0.0.1:{listen};").replace("worker_processes auto;", "")
    (folder / "nginx.conf").write_text(text, "utf-8")
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    own = f"daemon off; pid {folder}/nginx.pid; worker_processes 1;"
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen([*command, "-g", own])
    try:
        yield f"http://127.0.0.1:{listen}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
async def site(backend, tmp_path):
    """Two nodes, and nginx before them: its address and the nodes."""
    with redis_server(tmp_path) as redis:
        async with node(backend, redis) as one, node(backend, redis) as two:
            ports = [re.search(r":(\d+)$", each.address)[1] for each in (one, two)]
            with held_port() as listen, nginx(tmp_path, listen, ports) as address:
                await answers(f"{address}/socket.io/?EIO=4&transport=polling")
                yield address, (one, two)


async def answers(url):
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(url) as response:
                    if response.ok:
                        return
            await asyncio.sleep(0.05)


def text_of(device):
    return "".join(data["delta"] for data in device.of("ai_message_chunk"))


@pytest.mark.needs("node")
@pytest.mark.needs("socket.io-client")
async def test_every_transport_streams_through_it(site):
    address, _ = site
    async with contextlib.AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(node_device(address, **how)) for how in EVERY.values()]
        for device in devices:
            assert (await device.call("join_room", {"roomId": "r"}))["ok"]
        await devices[2].until(lambda line: line.get("upgraded") == "websocket")
        await devices[1].call("send_message", {"roomId": "r", "content": "x", "requestId": "r-1"})
        for device in devices:
            end = await device.until(lambda line: line.get("event") == "ai_message_end")
            assert text_of(device) == end["data"]["content"]
        assert len({text_of(device) for device in devices}) == 1
        assert len(devices[0].of("ai_message_chunk")) > 3  # nothing on the way gathers chunks


class PollingSession:
    """An Engine.IO session by polling, of a device at 127.0.0.NUMBER."""

    def __init__(self, http, address):
        self._http, self._url, self.sid = http, f"{address}/socket.io/?EIO=4&transport=polling", ""

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address, number=1):
        connector = aiohttp.TCPConnector(local_addr=(f"127.0.0.{number}", 0))
        async with aiohttp.ClientSession(connector=connector) as http:
            session = cls(http, address)
            async with http.get(session._url) as response:
                session.sid = json.loads((await response.text())[1:])["sid"]
            yield session

    async def known(self, address=None):
        """Return whether the node that a request reaches knows the session."""
        url = self._url if address is None else f"{address}/socket.io/?EIO=4&transport=polling"
        async with self._http.post(f"{url}&sid={self.sid}", data="3") as response:
            return response.status == 200


async def test_polling_devices_of_many_addresses_are_spread_and_stay(site):
    address, (one, _) = site
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(PollingSession.at(address, n)) for n in range(2, 34)]
        for _ in range(3):
            assert all([await session.known() for session in sessions])
        on_one = [session for session in sessions if await session.known(one.address)]
        assert 0 < len(on_one) < len(sessions)
        one.send(signal.SIGKILL)
        await one.process.wait()
        assert [s for s in sessions if await s.known()] == [s for s in sessions if s not in on_one]


@pytest.mark.needs("node")
@pytest.mark.needs("socket.io-client")
async def test_clients_of_a_killed_node_come_back_by_the_other(site):
    address, (one, two) = site
    async with PollingSession.at(address) as session:
        dying = one if await session.known(one.address) else two  # all that polls from here is there
    patient = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 500}
    ways = [*EVERY.values(), EVERY["websocket"]]  # of two websockets, each node gets one
    async with contextlib.AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(node_device(address, **way, **patient)) for way in ways]
        for device in devices:
            assert (await device.call("join_room", {"roomId": "r"}))["ok"]
        dying.send(signal.SIGKILL)
        await asyncio.gather(*(joined_again(device) for device in devices))
        assert len([device for device in devices if was_lost(device)]) == 3
        await devices[0].call("send_message", {"roomId": "r", "content": "x", "requestId": "r-1"})
        for device in devices:
            end = await device.until(lambda line: line.get("event") == "ai_message_end")
            assert text_of(device) == end["data"]["content"]


async def joined_again(device):
    async with asyncio.timeout(60):
        while not (await device.call("join_room", {"roomId": "r"}))["ok"]:
            await asyncio.sleep(0.1)


def was_lost(device):
    return any("disconnected" in line for line in device.said)


async def test_a_page_of_its_own_site_may_connect_and_another_may_not(site):
    address, _ = site
    for origin, status in ((address, 200), ("http://evil.example", 403)):
        async with (
            aiohttp.ClientSession(headers={"Origin": origin}) as http,
            http.get(f"{address}/socket.io/?EIO=4&transport=polling") as response,
        ):
            assert response.status == status


async def test_what_operators_ask_is_not_for_the_world(site):
    address, _ = site
    async with aiohttp.ClientSession() as http:
        for path in ("/admin/flag", "/healthz", "/readyz", "/metrics"):
            async with http.get(address + path) as response:
                assert response.status == 404


async def test_a_token_in_a_query_stands_in_no_access_log(site, tmp_path):
    address, _ = site
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{address}/chat/rooms/r/stream?access_token=canary") as response:
            assert response.status == 200
        log = tmp_path / "access.log"
        async with asyncio.timeout(60):
            while "/chat/rooms/r/stream" not in log.read_text("utf-8"):
                await asyncio.sleep(0.05)
    assert "canary" not in log.read_text("utf-8")


async def test_no_query_stands_in_any_log_while_nobody_answers(tmp_path):
    paths = (
        "/chat/rooms/r/stream?access_token=canary",
        "/socket.io/?EIO=4&transport=polling&sid=canary",
        "/x?canary",
    )
    with (
        held_port() as listen,
        held_port() as one,
        held_port() as two,
        nginx(tmp_path, listen, [one, two]) as address,
    ):
        await _ask_in_vain(address, paths, tmp_path / "access.log")
    said = "".join(each.read_text("utf-8") for each in tmp_path.glob("*.log"))
    assert "127.0.0.1:" in said  # which process did not answer
    assert "canary" not in said


async def _ask_in_vain(address, paths, log):
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while not log.exists():
            await asyncio.sleep(0.05)
        for path in paths:
            async with http.get(address + path) as response:
                assert response.status == 502
        while log.read_text("utf-8").count(" 502 ") < len(paths):
            await asyncio.sleep(0.05)
