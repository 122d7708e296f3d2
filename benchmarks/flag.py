"""How soon every node obeys the flag: real processes, the real command line, a Redis of its own.

python -m benchmarks.flag [--flips 100] [--nodes 2] [--redis redis://...]

Each flip is one `python -m bridge flag on|off`, a process of its own. A time counts from the moment at which
Redis has the change (the id of its entry is Redis TIME) to the moment at which a node answers with it; the
nodes are asked again and again, so the figures hold half a question too. Then one turn on the node that did
not hear of it first shows by which path it goes.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

TOKEN = "benchmark"  # noqa: S105  (opens a bridge of this benchmark only)


class Backend:
    """Answers at once, and keeps by which path it was asked."""

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer piece by piece."""
        asked = (await request.json())["requestId"]
        self.paths[asked] = "on"
        frames = [
            {"type": "start", "messageId": f"m-{asked}"},
            {"type": "text-delta", "id": "t", "delta": "yes"},
            {"type": "finish", "finishReason": "stop"},
        ]
        body = b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)
        return web.Response(body=body, headers={"content-type": "text/event-stream"})

    async def complete(self, request: web.Request) -> web.Response:
        """Answer in one piece."""
        asked = (await request.json())["requestId"]
        self.paths[asked] = "off"
        return web.json_response({"messageId": f"m-{asked}", "content": "yes"})


class Node:
    """A bridge process, asked for its flag and for turns."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process, self.address = process, address
        self.value = ""
        self.heard_at_s = 0.0
        self.changed = asyncio.Event()

    async def watch(self, session: aiohttp.ClientSession) -> None:
        """Ask for the flag again and again, and take the time at which another value holds."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        while True:
            async with session.get(f"{self.address}/admin/flag", headers=headers) as answer:
                value = (await answer.json())["value"]
            if value != self.value:
                self.value, self.heard_at_s = value, time.time()
                self.changed.set()

    async def until(self, value: str) -> None:
        """Wait until another value holds."""
        while self.value != value:
            self.changed.clear()
            await self.changed.wait()

    async def turn(self, session: aiohttp.ClientSession, request_id: str) -> str:
        """Have one turn; return the content of its complete message."""
        where = f"{self.address}/socket.io/?EIO=4&transport=websocket"
        async with session.ws_connect(where) as ws:
            await ws.receive_str()
            await ws.send_str('40{"streaming":false}')
            await ws.receive_str()
            await ws.send_str('420["join_room",{"roomId":1}]')
            asked = {"roomId": 1, "content": "?", "requestId": request_id}
            await ws.send_str("421" + json.dumps(["send_message", asked]))
            async for message in ws:
                if message.data.startswith('42["new_message"') and '"assistant"' in message.data:
                    return str(json.loads(message.data[2:])[1]["content"])
        raise AssertionError("the turn did not end")


async def measure(arguments: argparse.Namespace) -> None:
    """Flip, and print the figures."""
    backend = Backend()
    async with contextlib.AsyncExitStack() as stack:
        url = arguments.redis or await stack.enter_async_context(_redis())
        at = await stack.enter_async_context(_served(backend))
        nodes = [await stack.enter_async_context(_node(at, url)) for _ in range(arguments.nodes)]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        watches = [asyncio.create_task(node.watch(session)) for node in nodes]
        latencies_ms: list[float] = []
        wrong = 0
        for number in range(arguments.flips):
            value = "on" if number % 2 == 0 else "off"
            changed_at_s = await _flip(value, url)
            async with asyncio.timeout(5):
                for node in nodes:
                    await node.until(value)
            latencies_ms += [max(0.0, (node.heard_at_s - changed_at_s) * 1000) for node in nodes]
            asked = f"r-{number}"
            await nodes[number % len(nodes)].turn(session, asked)
            wrong += backend.paths[asked] != value
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
    _show(latencies_ms, arguments, wrong)


def _show(latencies_ms: list[float], arguments: argparse.Namespace, wrong: int) -> None:
    cuts = statistics.quantiles(latencies_ms, n=100, method="inclusive")
    print(f"{arguments.flips} flips by the command line, obeyed by each of {arguments.nodes} nodes within")
    shown = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(latencies_ms)}
    print("   ".join(f"{name} {value:.1f} ms" for name, value in shown.items()))
    print(f"turns by the wrong path: {wrong}")


async def _flip(value: str, url: str) -> float:
    """Change the flag; return when Redis had it, in seconds of the wall clock."""
    command = [sys.executable, "-m", "bridge", "flag", value, "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "REDIS_URL": url}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    version: str = json.loads(out)["history"][0]["version"]
    return int(version.partition("-")[0]) / 1000


@contextlib.asynccontextmanager
async def _served(backend: Backend) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(
        [
            web.post("/chat/messages/stream", backend.stream),
            web.post("/chat/messages", backend.complete),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _redis() -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            shutil.which("redis-server") or "redis-server", "--port", str(port), "--bind", "127.0.0.1",
            "--dir", folder, "--save", "", stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            await process.wait()


@contextlib.asynccontextmanager
async def _node(backend_url: str, redis_url: str) -> AsyncIterator[Node]:
    settings = {
        "PORT": "0",
        "BACKEND_URL": backend_url,
        "REDIS_URL": redis_url,
        "BRIDGE_ADMIN_TOKEN": TOKEN,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "serve", env={**os.environ, **settings},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told: Any = process.stderr
    address = ""
    while not address:
        address = json.loads(await told.readline()).get("address", "")
    silent = asyncio.create_task(told.read())
    try:
        yield Node(process, address)
    finally:
        process.terminate()
        await process.wait()
        await silent


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--redis", default="", help="a Redis to use (default: one of its own)")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
