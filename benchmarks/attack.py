"""Strangers and floods against a bridge process of our own, on loopback: figures for each attack.

python -m benchmarks.attack [flood | forged | leaks | http | memory ...]      all of them without a name

flood    one socket sends 5 000 events a second while users stream, by turns with none: what the others notice
forged   joins, sends, stops and resumes in the room of another, with a valid token of one's own
leaks    100 rooms of 2 users, a canary in every message: who hears what
http     connections that say nothing or half a head, bodies too large, late or cut, heads that are none
memory   what of all this stays in memory, after each of several rounds
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.attacked import SOCKET_IO, Backend, Device, bridge, port_of
from benchmarks.nodes import resident_kib, used_s

FLOOD_PER_S = 5000
TICKS_PER_S = 50
AT_ONCE = 50
FREELY = {"BRIDGE_EVENTS_PER_SECOND": "1000000", "BRIDGE_EVENTS_BURST": "1000000"}
REST_S = 12.0
"""By then a session that made no CONNECT is gone, and what waited for its next ping."""
IN_TIME_S = 11.0
"""The deadlines of the bridge are 10 s; by then all is answered or closed."""


# -- a flood beside users who stream


async def flood(address: str) -> None:
    """Send events as fast as asked for, and come back whenever sent away; print how many at every tick."""
    count = FLOOD_PER_S // TICKS_PER_S
    events = _frame(b'42["join_room",{"roomId":"user-1"}]') * count
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(Exception):
                device = await Device(session, address, "eve").connect("eve")
                watching = asyncio.create_task(_until_away(device))
                while not watching.done():
                    device.write(events)
                    print(count, flush=True)
                    await asyncio.wait({watching}, timeout=1 / TICKS_PER_S)
            print("away", flush=True)
            await asyncio.sleep(0.05)


def _frame(text: bytes) -> bytes:
    """Return a short text as a frame of a client, under a mask of zeros (RFC 6455, 5.2)."""
    return bytes((0x81, 0x80 | len(text))) + bytes(4) + text


async def _until_away(device: Device) -> None:
    with contextlib.suppress(Exception):
        while True:
            await device.ws.receive_str()


@contextlib.asynccontextmanager
async def flooding(address: str, counted: Counter[str]) -> Any:
    """Flood from a process of its own, so that it takes nothing from who measures."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.attack", "--flood", address), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101  (a pipe was asked for)
    try:
        yield
    finally:
        process.kill()
        for line in (await process.communicate())[0].decode().split():
            counted["away" if line == "away" else "events"] += 1 if line == "away" else int(line)


async def streams(devices: list[Device], seconds: float, name: str) -> list[float]:
    """Let every device run turn after turn; return the times to the first chunks."""
    until = time.monotonic() + seconds

    async def one(device: Device, after_s: float) -> list[float]:
        await asyncio.sleep(after_s)
        times: list[float] = []
        for number in itertools.count():
            if time.monotonic() > until:
                return times
            times.append(await device.turn_ms(device.user, f"{name}-{number}"))
        return times

    spread = [one(device, number / len(devices)) for number, device in enumerate(devices)]
    return [each for times in await asyncio.gather(*spread) for each in times]


async def flooded(arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
    """Compare the times to the first chunk without a flood and beside one, by turns."""
    counted: Counter[str] = Counter()
    rounds: dict[str, list[Round]] = {"alone": [], "beside": []}
    async with bridge(Backend()) as attacked:
        address = attacked.address
        users = [f"user-{n}" for n in range(arguments.users)]
        devices = [await Device(session, address, user).connect(user) for user in users]
        await streams(devices, 1, "warm")
        for number in range(arguments.rounds):
            for name, beside in (("alone", contextlib.nullcontext()), ("beside", flooding(address, counted))):
                async with beside:
                    began_at, worked_s = time.monotonic(), used_s(attacked.pid)
                    times = await streams(devices, arguments.seconds, f"{name}-{number}")
                    share = (used_s(attacked.pid) - worked_s) / (time.monotonic() - began_at)
                rounds[name].append(Round(statistics.quantiles(times, n=20)[-1], len(times), share))
    per_s = counted["events"] / arguments.seconds / arguments.rounds
    turns = sum(each.turns for each in rounds["beside"])
    print(f"flood: {per_s:.0f} events/s from one user, sent away {counted['away']} times")
    print(f"       {turns} turns of {arguments.users} others beside it, 0 errors")
    medians = []
    for name, each in rounds.items():
        p95s, cores = [one.p95_ms for one in each], statistics.median(one.cores for one in each)
        medians.append(statistics.median(p95s))
        said = " ".join(f"{p95_ms:.1f}" for p95_ms in p95s)
        print(f"       {name:6} p95 to the first chunk {said} ms, median {medians[-1]:.1f}", end="")
        print(f"; the bridge took {cores:.0%} of a core")
    print(f"       ratio of the medians {medians[1] / medians[0] - 1:+.0%}")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round showed; ``cores`` is how much of one the bridge worked."""

    p95_ms: float
    turns: int
    cores: float


# -- rooms are private


async def forged(arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
    """Ask in the room of another for whatever can be asked for."""
    backend, codes = Backend(), Counter[str]()
    async with bridge(backend, **FREELY) as attacked:
        address = attacked.address
        ann = await Device(session, address, "ann").connect("hers")
        eve = await Device(session, address, "eve").connect("own")
        await ann.turn_ms("hers", "r")
        message_id = json.loads(next(t for t in ann.heard if "ai_message_end" in t)[2:])[1]["messageId"]
        asks: list[tuple[str, dict[str, Any]]] = [
            ("join_room", {"roomId": "hers", "resume": {message_id: 0}}),
            ("send_message", {"roomId": "hers", "content": "eve"}),
            ("stop_message", {"roomId": "hers", "requestId": "r"}),
            ("resume", {"roomId": "hers", "messageId": message_id, "seq": 0}),
        ]
        for _, (event, data) in zip(range(arguments.forged), itertools.cycle(asks), strict=False):
            ack = await eve.call(event, data)
            codes[ack.get("error", {}).get("code", "DONE")] += 1
        other = await eve.call("resume", {"roomId": "own", "messageId": message_id, "seq": 0})
    refused, reached = codes["not_a_member"], backend.contents.count("eve")
    print(f"forged: {refused} of {arguments.forged} refused ({refused / arguments.forged:.0%})", end="")
    print(
        f", {reached} reached the backend; heard of her room: {sum('ann' in t for t in eve.heard)} words;",
        end="",
    )
    print(f" her messageId in a room of one's own: recovered {other['recovered']}")


async def leaks(arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
    """Let a canary be said in each of many rooms, and look who hears which."""
    async with bridge(Backend(), **FREELY) as attacked:
        address = attacked.address
        asking, listening = [], []
        for number in range(arguments.rooms):
            asking.append(await Device(session, address, f"canary{number}x").connect(f"room-{number}"))
            listening.append(await Device(session, address, f"bob-{number}").connect(f"room-{number}"))
        turns = [each.turn_ms(f"room-{number}", "same") for number, each in enumerate(asking)]
        hears = [each.until('42["ai_message_end"') for each in listening]
        await asyncio.gather(*turns, *hears)
    canaries = [each.user for each in asking]
    leaked = heard = 0
    for devices in (asking, listening):
        for number, device in enumerate(devices):
            said = " ".join(device.heard)
            heard += canaries[number] in said
            leaked += sum(canary in said for canary in canaries if canary != canaries[number])
    print(f"leaks: {arguments.rooms} rooms of 2 users, {leaked} leaks; ", end="")
    print(f"{heard} of {2 * len(asking)} heard their own")


# -- HTTP that is none


async def half_open(count: int, session: aiohttp.ClientSession, address: str) -> tuple[float, float]:
    """Open connections that say nothing, or half a head; return when a device is in, and when all end."""
    opened = []
    for number in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(address))
        writer.write(b"GET /socket.io/?EIO=4 HTTP/1.1\r\nX: " if number % 2 else b"")
        opened.append((reader, writer))
    began_at = time.monotonic()
    device = await Device(session, address, "bob").connect("bob")
    took_s = time.monotonic() - began_at
    await asyncio.gather(*(_to_the_end(reader) for reader, _ in opened))
    all_s = time.monotonic() - began_at
    for _, writer in opened:
        writer.close()
    await device.ws.close()
    return took_s, all_s


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


def _heads(path: str) -> dict[str, list[bytes]]:
    """Return what is sent, piece by piece with a pause of 0.5 s between, by what it is."""
    post = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
    return {
        "a body of 9 MB": [post + b"Content-Length: 9000000\r\n\r\n"],
        "3 MB in chunks": [
            post + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b"4" * 2**20 + b"\r\n") * 3
        ],
        "a body, a byte at a time": [post + b"Content-Length: 1000\r\n\r\n", *[b"4"] * 60],
        "a head, a byte at a time": [b"GET / HTTP/1.1\r\nX: ", *[b"x"] * 60],
        "a body that is cut": [post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
        "two lengths": [post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n4"],
        "a length and chunks": [post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        "a line of 200 kB": [b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n"],
        "TLS": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
        "nonsense": [b"\x00\xff nonsense\r\n\r\n"],
    }


async def odd_http(session: aiohttp.ClientSession, address: str) -> dict[str, "Ended"]:
    """Send what is too large, too slow or malformed; return how each ended."""
    async with session.get(f"{address}{SOCKET_IO}polling") as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    found: dict[str, Ended] = {}
    for path in (f"{SOCKET_IO}polling&sid={sid}", "/messages/"):
        sent = _heads(path)
        ends = await asyncio.gather(*(_sent(address, pieces) for pieces in sent.values()))
        found |= {f"{path[:10]} {what}": end for what, end in zip(sent, ends, strict=True)}
    return found


@dataclass(slots=True)
class Ended:
    """How a request ended: by which status, if any, and after how many seconds it was answered and closed."""

    status: str = ""
    answered_s: float = math.inf
    closed_s: float = math.inf

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Read to the end."""
        began_at = time.monotonic()
        with contextlib.suppress(ConnectionError):
            if said := await reader.read(12):
                self.status, self.answered_s = said[9:12].decode(), time.monotonic() - began_at
            await reader.read()
        self.closed_s = time.monotonic() - began_at

    @property
    def late(self) -> bool:
        """True when it was not answered, and not closed, in time."""
        return min(self.answered_s, self.closed_s) > IN_TIME_S


async def _sent(address: str, pieces: list[bytes]) -> Ended:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(address))
    ended = Ended()
    reading = asyncio.create_task(ended.read(reader))
    for piece in pieces:
        if not reading.done():
            writer.write(piece)
            await asyncio.wait({reading}, timeout=0.5)
    await asyncio.wait({reading}, timeout=IN_TIME_S)
    reading.cancel()
    writer.close()
    return ended


async def http(arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
    """Say how long a device waits beside connections that are half open, and how odd requests end."""
    async with bridge(Backend()) as attacked:
        address = attacked.address
        took_s, all_s = await half_open(arguments.half_open, session, address)
        print(f"http: {arguments.half_open} half open, all closed in {all_s:.1f} s; ", end="")
        print(f"a device that came then joined in {took_s:.3f} s")
        found = await odd_http(session, address)
    for what, end in found.items():
        answered = f"{end.status} after {end.answered_s:4.1f} s" if end.status else "no answer"
        print(f"      {what:36} {answered:18} closed after {end.closed_s:4.1f} s")
    late = sum(end.late for end in found.values())
    print(f"      {len(found)} kinds of oversize, slow and malformed HTTP, {late} not over in time")


# -- what stays


async def memory(arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
    """Attack the same process again and again, and look at its memory when it has come to rest."""
    async with bridge(Backend(), BRIDGE_PING_INTERVAL_S="5") as attacked:
        address = attacked.address
        await (await Device(session, address, "ann").connect("ann")).ws.close()
        fresh = _mib(attacked.pid)
        await _crowd(arguments.half_open, session, address)
        await asyncio.sleep(REST_S)
        served = f"{_mib(attacked.pid):.1f} after {arguments.half_open} devices came and went"
        print(f"memory: {fresh:.1f} MiB at first, {served}", end="", flush=True)
        for _ in range(arguments.rounds):
            counted: Counter[str] = Counter()
            async with flooding(address, counted):
                await asyncio.sleep(arguments.seconds)
            highest = _mib(attacked.pid)
            await half_open(arguments.half_open, session, address)
            for _ in range(50):
                await _too_large(session, address)
            highest = max(highest, _mib(attacked.pid))
            await asyncio.sleep(REST_S)
            print(f"; {highest:.1f}, at rest {_mib(attacked.pid):.1f}", end="", flush=True)
        print()


def _mib(pid: int) -> float:
    return resident_kib(pid) / 1024


async def _crowd(count: int, session: aiohttp.ClientSession, address: str) -> None:
    """Let devices of users come and go: what a process keeps that has served is its base."""
    devices = [Device(session, address, f"user-{number}") for number in range(count)]
    for at in range(0, count, AT_ONCE):
        await asyncio.gather(*(device.connect(device.user) for device in devices[at : at + AT_ONCE]))
    await asyncio.gather(*(device.ws.close() for device in devices))


async def _too_large(session: aiohttp.ClientSession, address: str) -> None:
    async with session.get(f"{address}{SOCKET_IO}polling") as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    url = f"{address}{SOCKET_IO}polling&sid={sid}"
    async with session.post(url, data=b"4" * 4_000_000) as answer:
        await answer.read()


Attack = Callable[[argparse.Namespace, aiohttp.ClientSession], Awaitable[None]]
ATTACKS: dict[str, Attack] = {
    "flood": flooded,
    "forged": forged,
    "leaks": leaks,
    "http": http,
    "memory": memory,
}


async def attack(arguments: argparse.Namespace) -> None:
    """Run the attacks that are named, and print what was seen."""
    for name in arguments.attacks or ATTACKS:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await ATTACKS[name](arguments, session)


def main() -> None:
    """Read the arguments and attack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("attacks", nargs="*", choices=[[], *ATTACKS], metavar="ATTACK")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10, help="of each round (default 10)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forged", type=int, default=10_000)
    parser.add_argument("--half-open", type=int, default=1000)
    parser.add_argument("--flood", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    asyncio.run(flood(arguments.flood) if arguments.flood else attack(arguments))


if __name__ == "__main__":
    main()
