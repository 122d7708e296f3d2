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
import statistics
import sys
import time

import aiohttp
from aiohttp import web

from benchmarks.nodes import backend, node, redis

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


class Asked:
    """A bridge process, asked for its flag and for turns."""

    def __init__(self, address: str) -> None:
        self.address = address
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
    answers = Backend()
    async with contextlib.AsyncExitStack() as stack:
        url = arguments.redis or await stack.enter_async_context(redis())
        at = await stack.enter_async_context(backend(stream=answers.stream, complete=answers.complete))
        given = {"BACKEND_URL": at, "REDIS_URL": url, "BRIDGE_ADMIN_TOKEN": TOKEN}
        started = [await stack.enter_async_context(node(**given)) for _ in range(arguments.nodes)]
        nodes = [Asked(each.address) for each in started]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        watches = [asyncio.create_task(each.watch(session)) for each in nodes]
        latencies_ms: list[float] = []
        wrong = 0
        for number in range(arguments.flips):
            value = "on" if number % 2 == 0 else "off"
            changed_at_s = await _flip(value, url)
            async with asyncio.timeout(5):
                for each in nodes:
                    await each.until(value)
            latencies_ms += [max(0.0, (each.heard_at_s - changed_at_s) * 1000) for each in nodes]
            asked = f"r-{number}"
            await nodes[number % len(nodes)].turn(session, asked)
            wrong += answers.paths[asked] != value
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
