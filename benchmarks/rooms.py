"""50 rooms x 2 devices at 50 tokens a second through one bridge process: loss, order, added latency.

python -m benchmarks.rooms [--rooms 50] [--devices 2] [--rate 50] [--seconds 10]

The backend and the devices run here, in one process beside the bridge's, so one clock stamps each token
when the backend writes it and when a device has it. On Linux the bridge is held to one core and this
process to another.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.nodes import Node, backend, node, used_s


class Backend:
    """Streams tokens at a pace; every delta carries the time it was written, in nanoseconds."""

    def __init__(self, tokens: int, rate: float) -> None:
        self.tokens, self.rate = tokens, rate

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer one turn."""
        body = await request.json()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(_frame({"type": "start", "messageId": f"m-{body['requestId']}"}))
        due = time.monotonic()
        for number in range(self.tokens):
            due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            delta = f"{number}:{time.monotonic_ns()} "
            await response.write(_frame({"type": "text-delta", "id": "t", "delta": delta}))
        await response.write(_frame({"type": "finish", "finishReason": "stop"}) + b"data: [DONE]\n\n")
        return response


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class Device:
    """A websocket client that checks order and takes times."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.chunks = self.seq = self.gaps = self.repeats = self.unequal = 0
        self.text = self.sid = ""
        self.ended = asyncio.Event()

    async def run(self, session: aiohttp.ClientSession, address: str, room: int) -> None:
        """Connect, join, hear until the end."""
        self.room = room
        self.ws = await session.ws_connect(
            f"{address}/socket.io/?EIO=4&transport=websocket", max_msg_size=2**24
        )
        self.sid = json.loads((await self.ws.receive_str())[1:])["sid"]
        await self.ws.send_str('40{"streaming":true}')
        await self.ws.receive_str()
        await self.ws.send_str(f'420["join_room",{{"roomId":{room}}}]')
        await self.ws.receive_str()
        self.task = asyncio.create_task(self._hear())

    async def close(self) -> None:
        """Disconnect."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.ws.close()

    async def _hear(self) -> None:
        async for message in self.ws:
            now_ns = time.monotonic_ns()
            if message.data == "2":
                await self.ws.send_str("3")
            elif message.data.startswith('42["ai_message_chunk"'):
                self._chunk(json.loads(message.data[2:])[1], now_ns)
            elif message.data.startswith('42["ai_message_end"'):
                self.unequal += json.loads(message.data[2:])[1]["content"] != self.text
                self.ended.set()

    def _chunk(self, chunk: dict[str, Any], now_ns: int) -> None:
        first = chunk.get("fromSeq", chunk["seq"])
        self.chunks += 1
        self.gaps += first > self.seq + 1
        self.repeats += first <= self.seq
        self.seq = chunk["seq"]
        self.text += chunk["delta"]
        for token in chunk["delta"].split():
            self.latencies_ms.append((now_ns - int(token.partition(":")[2])) / 1e6)


@contextlib.asynccontextmanager
async def serving(answers: Backend) -> AsyncIterator[Node]:
    """Run ``answers`` here and a bridge in front of it on a core of its own."""
    async with (
        backend(stream=answers.stream) as url,
        node(BACKEND_URL=url, CHAT_STREAMING_ENABLED="on") as bridge,
    ):
        _pin(bridge.pid)
        yield bridge


async def measure(arguments: argparse.Namespace) -> None:
    """Run once and print the figures."""
    async with (
        serving(Backend(int(arguments.rate * arguments.seconds), arguments.rate)) as bridge,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        devices = await fill(session, bridge.address, arguments)
        await ask(devices, arguments)
        cpu_s = used_s(bridge.pid)
        for device in devices:
            await device.close()
    _print(arguments, devices, cpu_s)


async def fill(
    session: aiohttp.ClientSession, address: str, arguments: argparse.Namespace, *, first_room: int = 0
) -> list[Device]:
    """Connect the devices of every room, room by room."""
    devices = []
    for room in range(first_room, first_room + arguments.rooms):
        for _ in range(arguments.devices):
            devices.append(Device())
            await devices[-1].run(session, address, room)
    return devices


async def ask(devices: list[Device], arguments: argparse.Namespace) -> None:
    """Have one answer in each room, by its first device; return once all devices have it."""
    for first in devices[:: arguments.devices]:
        asked = {"roomId": first.room, "content": "go", "requestId": f"r-{first.room}"}
        await first.ws.send_str("421" + json.dumps(["send_message", asked]))
        await asyncio.sleep(1 / arguments.rooms)  # people do not press the key in the same millisecond
    async with asyncio.timeout(arguments.seconds + 30):
        await asyncio.gather(*(device.ended.wait() for device in devices))


def _pin(bridge_pid: int) -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(bridge_pid, {cores[0]})
        os.sched_setaffinity(0, {cores[1]})


def _print(arguments: argparse.Namespace, devices: list[Device], cpu_s: float) -> None:
    latencies = sorted(x for device in devices for x in device.latencies_ms)
    cut = statistics.quantiles(latencies, n=100)
    load = f"{arguments.rooms} rooms x {arguments.devices} devices x {arguments.rate:g} tokens/s"
    print(f"{load}, {arguments.seconds:g} s")
    print(f"deliveries {len(latencies)}, expected {len(devices) * int(arguments.rate * arguments.seconds)}")
    for name in ("gaps", "repeats", "unequal"):
        print(f"{name:8} {sum(getattr(device, name) for device in devices)}")
    print(
        f"added latency ms: p50 {cut[49]:.2f}  p95 {cut[94]:.2f}  p99 {cut[98]:.2f}  max {latencies[-1]:.2f}"
    )
    print(f"bridge CPU {cpu_s:.2f} s = {cpu_s / arguments.seconds * 100:.0f} % of one core (start included)")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--rate", type=float, default=50, help="tokens per second of each answer")
    parser.add_argument("--seconds", type=float, default=10)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
