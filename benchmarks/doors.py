"""Added latency through each door, beside that of Socket.IO: 50 answers at once at 50 tokens a second.

python -m benchmarks.doors [--answers 50] [--rate 50] [--seconds 3] [--rounds 5]

One bridge process; each door in turn has as many askers as answers, one in each room, and every asker
hears its own answer. The backend stamps each token; backend and askers run here, so one clock serves both.
The doors take turns over ``--rounds``, so that a busy machine is busy for all.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp

from benchmarks.nodes import used_s
from benchmarks.rooms import Backend, serving

Ask = Callable[[aiohttp.ClientSession, str, str], AsyncIterator[str]]


async def socket_io(session: aiohttp.ClientSession, address: str, room: str) -> AsyncIterator[str]:
    """Ask over Socket.IO's websocket; give the deltas."""
    async with session.ws_connect(f"{address}/socket.io/?EIO=4&transport=websocket", max_msg_size=0) as ws:
        await ws.receive_str()
        await ws.send_str('40{"streaming":true}')
        await ws.receive_str()
        await ws.send_str(f'420["join_room",{{"roomId":"{room}"}}]')
        await ws.receive_str()
        await ws.send_str(f'421["send_message",{{"roomId":"{room}","content":"go"}}]')
        async for message in ws:
            if message.data == "2":
                await ws.send_str("3")
            elif message.data.startswith('42["ai_message_chunk"'):
                yield json.loads(message.data[2:])[1]["delta"]
            elif message.data.startswith('42["ai_message_end"'):
                return


async def websocket(session: aiohttp.ClientSession, address: str, room: str) -> AsyncIterator[str]:
    """Ask over the plain WebSocket."""
    async with session.ws_connect(f"{address}/api/v1/chat/ws", max_msg_size=0) as ws:
        await ws.send_json({"event": "auth", "data": {"streaming": True}})
        await ws.send_json({"event": "join_room", "data": {"roomId": room}})
        await ws.send_json({"event": "send_message", "data": {"roomId": room, "content": "go"}})
        async for message in ws:
            frame = json.loads(message.data)
            if frame["event"] == "ai_message_chunk":
                yield frame["data"]["delta"]
            elif frame["event"] == "ai_message_end":
                return


async def event_source(session: aiohttp.ClientSession, address: str, room: str) -> AsyncIterator[str]:
    """Hear the room as an EventSource, and post the question."""
    async with session.get(f"{address}/chat/rooms/{room}/stream?streaming=true") as response:
        say = {"event": "send_message", "data": {"roomId": room, "content": "go"}}
        async with session.post(f"{address}/chat/events", json=say):
            pass
        async for data in _events(response):
            if "delta" in data:
                yield data["delta"]
            elif "finishReason" in data:
                return


async def stream(session: aiohttp.ClientSession, address: str, room: str) -> AsyncIterator[str]:
    """Ask by a fetch that streams role and delta."""
    asked = {"chat_id": room, "content": "go"}
    async with session.post(f"{address}/stream/", json=asked) as response:
        async for data in _events(response):
            if data["role"] == "assistant":
                yield data["delta"]


async def ai_sdk(session: aiohttp.ClientSession, address: str, room: str) -> AsyncIterator[str]:
    """Ask as the AI SDK does."""
    asked = {"id": room, "messages": [{"role": "user", "parts": [{"type": "text", "text": "go"}]}]}
    async with session.post(f"{address}/api/chat", json=asked) as response:
        async for data in _events(response):
            if data["type"] == "text-delta":
                yield data["delta"]


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for some in response.content.iter_any():
        *events, rest = (rest + some).split(b"\n\n")
        for event in events:
            _, _, data = event.rpartition(b"data: ")
            if data.startswith(b"{"):
                yield json.loads(data)


DOORS: list[Ask] = [socket_io, websocket, event_source, stream, ai_sdk]


async def _latencies_ms(ask: AsyncIterator[str], after_s: float) -> list[float]:
    """Return how old each token of one answer was when it was heard; raises where one is missing."""
    await asyncio.sleep(after_s)  # people do not press the key in the same millisecond
    latencies_ms, expected = [], itertools.count()
    async for delta in ask:
        now_ns = time.monotonic_ns()
        for token in delta.split():
            number, _, written_ns = token.partition(":")
            if int(number) != next(expected):
                raise SystemExit(f"token {number} is out of order")
            latencies_ms.append((now_ns - int(written_ns)) / 1e6)
    return latencies_ms


async def measure(arguments: argparse.Namespace) -> None:
    """Run and print the figures."""
    tokens = int(arguments.rate * arguments.seconds)
    rounds: dict[str, list[Round]] = {door.__name__: [] for door in DOORS}
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        serving(Backend(tokens, arguments.rate)) as bridge,
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session,
    ):
        for turn, door in itertools.product(range(arguments.rounds), DOORS):
            rooms = [f"{door.__name__}-{turn}-{number}" for number in range(arguments.answers)]
            answers: list[Awaitable[list[float]]] = [
                _latencies_ms(door(session, bridge.address, room), at / arguments.answers)
                for at, room in enumerate(rooms)
            ]
            began_s = used_s(bridge.pid)
            async with asyncio.timeout(arguments.seconds + 60):
                heard = list(itertools.chain(*await asyncio.gather(*answers)))
            rounds[door.__name__].append(Round(heard, used_s(bridge.pid) - began_s))
    _print(arguments, rounds, arguments.answers * tokens)


class Round:
    """What one door did once."""

    def __init__(self, latencies_ms: list[float], cpu_s: float) -> None:
        cut = statistics.quantiles(latencies_ms, n=100)
        self.tokens, self.cpu_s = len(latencies_ms), cpu_s
        self.p50_ms, self.p95_ms, self.p99_ms = cut[49], cut[94], cut[98]


def _print(arguments: argparse.Namespace, rounds: dict[str, list[Round]], expected: int) -> None:
    load = f"{arguments.answers} answers x {arguments.rate:g} tokens/s x {arguments.seconds:g} s"
    print(f"{load}, added latency: medians of {arguments.rounds} rounds, and as a part of Socket.IO's")
    for name, done in rounds.items():
        lost = sum(expected - each.tokens for each in done)
        columns = []
        for figure in ("p50_ms", "p95_ms", "p99_ms"):
            own, base = (
                statistics.median(getattr(each, figure) for each in rounds[door])
                for door in (name, DOORS[0].__name__)
            )
            columns.append(f"{figure[:3]} {own:6.2f} ms {own / base:5.2f}")
        cpu_s = statistics.median(each.cpu_s for each in done)
        print(f"{name:13} lost {lost}  {'   '.join(columns)}   CPU {cpu_s:.2f} s")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=50)
    parser.add_argument("--rate", type=float, default=50, help="tokens per second of each answer")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
