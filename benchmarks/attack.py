"""Strangers and floods against a bridge process of our own, on loopback: figures for each attack.

python -m benchmarks.attack [--users 50] [--seconds 10] [--forged 10000] [--half-open 1000]

A flood of events beside users who stream, forged joins, sends, stops and resumes, connections that say
nothing or half a word, bodies that are too large: what the others notice of it, and what stays in memory.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
from aiohttp import web

from benchmarks.nodes import Node, backend, node, resident_kib

SECRET = "attack" * 8
FLOOD_PER_S = 5000
SOCKET_IO = "/socket.io/?EIO=4&transport="


@dataclass(slots=True)
class Backend:
    """Answers with ten words; knows who asked for them."""

    url: str = ""
    contents: list[str] = field(default_factory=list)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer one turn."""
        self.contents.append((await request.json())["content"])
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(10):
            delta = {"type": "text-delta", "id": "t", "delta": f"word{number} "}
            await response.write(b"data: " + json.dumps(delta).encode() + b"\n\n")
            await asyncio.sleep(0.02)
        await response.write(b'data: {"type":"finish","finishReason":"stop"}\n\n')
        return response


class Device:
    """A websocket client of one user."""

    def __init__(self, session: aiohttp.ClientSession, address: str, user: str) -> None:
        self._session = session
        self._address = address
        self.user = user
        self._numbers = itertools.count(1)

    async def connect(self, *rooms: str) -> "Device":
        """Connect with a token for ``rooms``, and join them."""
        claims = {"sub": self.user, "exp": time.time() + 3600, "rooms": rooms}
        self.ws = await self._session.ws_connect(f"{self._address}{SOCKET_IO}websocket")
        await self.ws.send_str("40" + json.dumps({"token": jwt.encode(claims, SECRET), "streaming": True}))
        for _ in range(2):
            await self.ws.receive_str(timeout=10)
        for room in rooms:
            await self.call("join_room", {"roomId": room})
        return self

    async def call(self, event: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send an event and return its ack."""
        number = next(self._numbers)
        await self.ws.send_str(f"42{number}{json.dumps([event, data])}")
        ack: dict[str, Any] = json.loads((await self._until(f"43{number}["))[0])
        return ack

    async def turn_ms(self, room: str, request_id: str) -> float:
        """Run a turn to its end; return the time to its first chunk."""
        began_at = time.monotonic()
        sent = await self.call(
            "send_message", {"roomId": room, "content": self.user, "requestId": request_id}
        )
        if not sent["ok"]:
            raise RuntimeError(sent)
        await self._until('42["ai_message_chunk"')
        first_ms = (time.monotonic() - began_at) * 1000
        await self._until('42["ai_message_end"')
        return first_ms

    async def _until(self, prefix: str) -> list[str]:
        while True:
            text = await self.ws.receive_str(timeout=20)
            if text == "2":
                await self.ws.send_str("3")
            elif text.startswith(prefix):
                return [text[len(prefix) - 1 :].removeprefix("[").removesuffix("]")]


@contextlib.asynccontextmanager
async def bridge(answers: Backend, **settings: str) -> AsyncIterator[Node]:
    """Run a bridge process that asks everybody for a token."""
    guarded = {
        "CHAT_STREAMING_ENABLED": "on",
        "BRIDGE_AUTH": "jwt",
        "BRIDGE_JWT_SECRET": SECRET,
        "BRIDGE_CONNECTIONS_PER_ADDRESS": "10000",
        **settings,
    }
    async with backend(stream=answers.stream) as url, node(BACKEND_URL=url, **guarded) as started:
        yield started


async def streams(devices: list[Device], seconds: float, name: str) -> list[float]:
    """Let every device run turn after turn; return the times to the first chunks."""
    until = time.monotonic() + seconds

    async def one(device: Device) -> list[float]:
        times: list[float] = []
        for number in itertools.count():
            if time.monotonic() > until:
                return times
            times.append(await device.turn_ms(device.user, f"{name}-{number}"))
        return times

    return [each for times in await asyncio.gather(*map(one, devices)) for each in times]


async def flood(session: aiohttp.ClientSession, address: str, counted: list[int]) -> None:
    """Send events as fast as asked for, and come back whenever sent away."""
    while True:
        with contextlib.suppress(Exception):
            device = await Device(session, address, "eve").connect("eve")
            while not device.ws.closed:
                for _ in range(FLOOD_PER_S // 50):
                    await device.ws.send_str('42["join_room",{"roomId":"user-1"}]')
                    counted[0] += 1
                await asyncio.sleep(0.02)
        counted[1] += 1
        await asyncio.sleep(0.05)


async def flooded(arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
    """Compare the times to the first chunk without a flood and beside one."""
    async with bridge(Backend()) as attacked:
        users = [f"user-{n}" for n in range(arguments.users)]
        devices = [await Device(session, attacked.address, user).connect(user) for user in users]
        alone = await streams(devices, arguments.seconds, "alone")
        counted = [0, 0]
        flooding = asyncio.create_task(flood(session, attacked.address, counted))
        beside = await streams(devices, arguments.seconds, "beside")
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
    before, after = statistics.quantiles(alone, n=20)[-1], statistics.quantiles(beside, n=20)[-1]
    per_s, away = counted[0] / arguments.seconds, counted[1]
    print(f"flood: {per_s:.0f} events/s from one user, sent away {away} times; {len(beside)} turns, 0 errors")
    share = after / before - 1
    print(f"       p95 to the first chunk {before:.1f} ms alone, {after:.1f} ms beside it ({share:+.0%})")


async def forged(arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
    """Ask in the room of another for whatever can be asked for."""
    answers, refused = Backend(), 0
    fast = {"BRIDGE_EVENTS_PER_SECOND": "1000000", "BRIDGE_EVENTS_BURST": "1000000"}
    async with bridge(answers, **fast) as attacked:
        ann = await Device(session, attacked.address, "ann").connect("hers")
        eve = await Device(session, attacked.address, "eve").connect("own")
        await ann.turn_ms("hers", "r")
        asks: list[tuple[str, dict[str, Any]]] = [
            ("join_room", {"roomId": "hers"}),
            ("send_message", {"roomId": "hers", "content": "eve"}),
            ("stop_message", {"roomId": "hers", "requestId": "r"}),
            ("resume", {"roomId": "hers", "messageId": "m", "seq": 0}),
        ]
        for _, (event, data) in zip(range(arguments.forged), itertools.cycle(asks), strict=False):
            ack = await eve.call(event, data)
            refused += ack.get("error", {}).get("code") == "not_a_member"
    reached = answers.contents.count("eve")
    print(f"forged: {refused} of {arguments.forged} refused, {reached} reached the backend")


async def half_open(arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
    """Open connections that say nothing, or half a head, and time a device that comes then."""
    async with bridge(Backend()) as attacked:
        await (await Device(session, attacked.address, "ann").connect("ann")).ws.close()
        base_kib, port = resident_kib(attacked.pid), int(attacked.address.rpartition(":")[2])
        opened = []
        for number in range(arguments.half_open):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /socket.io/?EIO=4 HTTP/1.1\r\nX: " if number % 2 else b"")
            opened.append((reader, writer))
        began_at = time.monotonic()
        await Device(session, attacked.address, "bob").connect("bob")
        took_s = time.monotonic() - began_at
        await asyncio.gather(*(reader.read() for reader, _ in opened))
        all_s = time.monotonic() - began_at
        for _, writer in opened:
            writer.close()
        print(f"half open: {len(opened)}, all closed in {all_s:.1f} s; a new device joined in {took_s:.3f}")
        seen = {await _too_large(session, attacked.address) for _ in range(50)}
        await asyncio.sleep(10)  # those sessions made no CONNECT
        print(f"too large: 50 bodies of 4 MB, answered {seen}")
        print(f"memory: {base_kib // 1024} MiB before, {resident_kib(attacked.pid) // 1024} MiB behind it")


async def _too_large(session: aiohttp.ClientSession, address: str) -> int:
    async with session.get(f"{address}{SOCKET_IO}polling") as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    async with session.post(f"{address}{SOCKET_IO}polling&sid={sid}", data=b"4" * 4_000_000) as answer:
        return answer.status


async def attack(arguments: argparse.Namespace) -> None:
    """Run every attack and print what was seen."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await flooded(arguments, session)
        await forged(arguments, session)
        await half_open(arguments, session)


def main() -> None:
    """Read the arguments and attack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--forged", type=int, default=10_000)
    parser.add_argument("--half-open", type=int, default=1000)
    asyncio.run(attack(parser.parse_args()))


if __name__ == "__main__":
    main()
