"""How the guard does its work: real processes, a Redis of its own, the reference backend.

python -m benchmarks.guard [--turns 1000] [--nodes 2] [--dry-run]

Three runs, each on a cluster of its own with the default limits and a short window. Calm: so many turns
without a fault, which must not trip it. Storm: turns go well, then every call fails; told are the failed
turns and the time from the first of them to the trip, and how much later each node obeyed. Duplicates: the
backend says each piece of text twice. Then what one look of a node costs Redis. With --dry-run the guard
only says what it would do, and each node for itself.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings as BackendSettings
from benchmarks.nodes import Node, node, redis
from bridge.figures import NAMES, Figures
from bridge.redis_client import RedisClient
from bridge.stores.redis_tally import RedisTally

TOKEN = "benchmark"  # noqa: S105  (opens a bridge of this benchmark only)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
WINDOW_S = 20.0
AT_ONCE = 4
LOOKS = 500
SHORT_S = 2.4
"""A window that is soon full."""
NODE = {
    "CHAT_STREAMING_ENABLED": "on",
    "BRIDGE_ADMIN_TOKEN": TOKEN,
    "BRIDGE_GUARD_WINDOW_S": str(WINDOW_S),
    "BRIDGE_EVENTS_PER_SECOND": "100000",
    "BRIDGE_EVENTS_BURST": "100000",
    "BRIDGE_DRAIN_S": "0.3",
}
"""The settings of every node."""


@dataclass
class Cluster:
    """Nodes over one Redis, in front of one backend."""

    http: aiohttp.ClientSession
    nodes: list[Node]
    backend: ReferenceBackend
    failed_at_s: list[float] = field(default_factory=list)

    async def turns(self, count: int) -> None:
        """Have ``count`` turns, a few at once on each node, or fewer if the flag goes off meanwhile."""
        left = iter(range(count))
        rooms = [(each, number) for each in self.nodes for number in range(AT_ONCE)]
        await asyncio.gather(*(self._room(each, number, left) for each, number in rooms))

    async def _room(self, at: Node, room_id: int, left: Iterator[int]) -> None:
        async with self.http.ws_connect(f"{at.address}/socket.io/?EIO=4&transport=websocket") as ws:
            await ws.receive_str()
            await ws.send_str('40{"streaming":true}')
            await ws.receive_str()
            await ws.send_str(f'421["join_room",{{"roomId":{room_id}}}]')
            for number in left:
                request_id = f"{at.address[-5:]}-{number}"
                asked = {"roomId": room_id, "content": "?", "requestId": request_id}
                await ws.send_str("422" + json.dumps(["send_message", asked]))
                if not await self._ended(ws, request_id):
                    return

    async def _ended(self, ws: aiohttp.ClientWebSocketResponse, request_id: str) -> bool:
        """Wait for the end of a turn; return False once one did not stream."""
        async for message in ws:
            if message.data == "2":
                await ws.send_str("3")
            elif message.data.startswith("42["):
                name, said = json.loads(message.data[2:])
                if said["requestId"] != request_id:
                    continue
                if name == "ai_message_end":
                    if said["finishReason"] == "error":
                        self.failed_at_s.append(time.time())
                    return True
                if name == "new_message" and said["role"] == "assistant":
                    return False
        return False

    async def flag(self, at: Node) -> dict[str, Any]:
        """Ask a node for its flag."""
        async with self.http.get(f"{at.address}/admin/flag", headers=BEARER) as answer:
            said: dict[str, Any] = await answer.json()
            return said

    async def obeyed_at_s(self, at: Node) -> float:
        """Wait until a node has the flag off; return when that was."""
        while (await self.flag(at))["value"] != "off":  # noqa: ASYNC110  (it is in another process)
            await asyncio.sleep(0.002)
        return time.time()

    async def figure(self, name: str) -> float:
        """Return the sum of a figure over the nodes."""
        total = 0.0
        for each in self.nodes:
            async with self.http.get(f"{each.address}/metrics") as answer:
                text = await answer.text()
            total += float(text.partition(f"\n{name} ")[2].partition("\n")[0] or 0)
        return total


async def measure(arguments: argparse.Namespace) -> bool:
    """Run all, print the figures, and return whether all was as it should be."""
    calm = await _calm(arguments)
    storm = await _trips(arguments, "storm", "error;on=both", "reference")
    twice = await _trips(arguments, "duplicates", "duplicate", "trpc")
    await _cost()
    return calm and storm and twice


async def _calm(arguments: argparse.Namespace) -> bool:
    async with _cluster(arguments, "reference") as cluster:
        began_s = time.time()
        await cluster.turns(arguments.turns)
        took_s = time.time() - began_s
        await asyncio.sleep(2)
        moves = await _moves(cluster)
    print(
        f"calm        {arguments.turns} turns in {took_s:.1f} s on {arguments.nodes} nodes: {moves:.0f} trips"
    )
    return moves == 0


async def _trips(arguments: argparse.Namespace, name: str, fault: str, profile: str) -> bool:
    async with _cluster(arguments, profile) as cluster:
        await cluster.turns(100 if name == "storm" else 1)
        cluster.backend.fault = fault
        began_s = time.time()
        storming = asyncio.create_task(cluster.turns(100_000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WINDOW_S):
                await _tripped(cluster, arguments)
        storming.cancel()
        await asyncio.gather(storming, return_exceptions=True)
        moves = await _moves(cluster)
        await _show(cluster, name, began_s, moves)
    return moves == (arguments.nodes if arguments.dry_run else 1)


async def _tripped(cluster: Cluster, arguments: argparse.Namespace) -> None:
    if not arguments.dry_run:
        await asyncio.gather(*(cluster.obeyed_at_s(each) for each in cluster.nodes))
    expected = arguments.nodes if arguments.dry_run else 1
    while await _moves(cluster) < expected:  # noqa: ASYNC110  (it is in another process)
        await asyncio.sleep(0.05)


async def _moves(cluster: Cluster) -> float:
    names = ("bridge_guard_trips_total", "bridge_guard_refrained_total")
    return sum([await cluster.figure(name) for name in names])


async def _show(cluster: Cluster, name: str, began_s: float, moves: float) -> None:
    history = (await cluster.flag(cluster.nodes[0]))["history"]
    print(
        f"{name:<11} {moves:.0f} trips, {len(history)} changes of the flag by {[c['who'] for c in history]}"
    )
    if history:
        tripped_at_s = int(history[0]["version"].partition("-")[0]) / 1000
        failed = sum(at_s <= tripped_at_s for at_s in cluster.failed_at_s)
        print(f"            {tripped_at_s - began_s:.2f} s after the fault began, {failed} turns had failed")
        print(f"            why: {history[0]['why']}")


async def _cost() -> None:
    """Print what one look costs, with all figures there are in every bucket."""
    async with redis() as url:
        client = RedisClient(url)
        tally = RedisTally(client, "one", window_s=SHORT_S, prefix="cost:")
        everything = Figures(dict.fromkeys(NAMES, 1))
        number = 0
        began_s = time.monotonic()
        while time.monotonic() - began_s < SHORT_S:
            number += 1
            await tally.add("0", number, everything)
            await asyncio.sleep(0.05)
        took_ms = []
        for _ in range(LOOKS):
            number += 1
            before_s = time.perf_counter()
            await tally.add("0", number, Figures({"turns": 1}))
            took_ms.append((time.perf_counter() - before_s) * 1000)
        used = await client.commands.info("commandstats")
        await client.close()
    script_us = used["cmdstat_evalsha"]["usec_per_call"]
    p50 = statistics.median(took_ms)
    print(f"a look      {p50:.2f} ms (p50) with {len(NAMES)} figures a bucket, {script_us:.0f} us of Redis")


@contextlib.asynccontextmanager
async def _cluster(arguments: argparse.Namespace, profile: str) -> AsyncIterator[Cluster]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = f"sqlite+aiosqlite:///{folder / 'history.sqlite3'}"
        pace = Pace(5, 0, 0.0)
        backend = ReferenceBackend(BackendSettings(port=0, database_url=database, pace=pace, grace_s=0))
        at = await backend.start()
        stack.push_async_callback(backend.stop)
        url = await stack.enter_async_context(redis())
        given = {"BACKEND_URL": at, "REDIS_URL": url, "BRIDGE_BACKEND_PROFILE": profile, **NODE}
        mode = {"BRIDGE_GUARD": "dry-run" if arguments.dry_run else "on"}
        nodes = [await stack.enter_async_context(node(**given, **mode)) for _ in range(arguments.nodes)]
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Cluster(http, nodes, backend)


def main() -> int:
    """Read the arguments and measure; return 1 where the guard did what it should not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=1000, help="of the calm run")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true", help="the guard only says what it would do")
    return 0 if asyncio.run(measure(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
