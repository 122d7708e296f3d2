"""What a chunk costs more when Node servers share the Redis: python -m benchmarks.node_cluster [--url U].

Appends batches of one chunk of about 50 characters through the store to a Redis (one of its own, without
``--url``) and prints the CPU of this process and the time per chunk: without other servers, with them, and
what it costs a bridge to hear an emit of a Node server. The least of several runs counts.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgpack

from benchmarks.nodes import redis
from bridge import node_cluster
from bridge.copies import Copies, Format, classic, python, sharded, streams
from bridge.letters import Batch
from bridge.messages import MessageChunk
from bridge.node_cluster import Channels
from bridge.ports import Claim, Prompt
from bridge.redis_client import Ear, RedisClient
from bridge.stores.redis import RedisStore

CHUNKS, IN_FLIGHT, RUNS = 5000, 50, 5
TEXT = "fifty characters of an answer, more or less, ok?  "
IDS = ("r", "room", "m")


def silent(_: BaseException) -> None:
    """Take no notice."""


async def append(url: str, run: str, copies: Copies | None) -> tuple[float, float]:
    """Return the CPU and the time of one chunk, in microseconds."""
    store = RedisStore(
        RedisClient(url), "node", prefix=f"{run}:", outbound=copies, lease_s=5, turn_s=60, window_s=60
    )
    await store.start()
    turn = f"t-{run}"
    await store.claim(Claim(turn, Prompt("r", "room", "m", ""), streaming=True, digest="", turn_limit=4))
    cpu_s, began_s = time.process_time(), time.perf_counter()
    for first in range(1, CHUNKS, IN_FLIGHT):
        said = (Batch(n, [MessageChunk(*IDS, n, TEXT)]) for n in range(first, first + IN_FLIGHT))
        await asyncio.gather(*(store.append(turn, 1, batch) for batch in said))
    spent = (time.process_time() - cpu_s, time.perf_counter() - began_s)
    await store.close()
    return spent[0] / CHUNKS * 1e6, spent[1] / CHUNKS * 1e6


async def hear(url: str) -> tuple[float, float]:
    """Return the CPU and the time of one emit of a Node server, up to the value that is made of it."""
    client, channels = RedisClient(url), Channels()
    ear = Ear(client, [channels.of_rooms], [channels.to_all])
    await ear.hear()
    packet = {"type": 2, "data": ["word", {"text": TEXT}], "nsp": "/"}
    emit = msgpack.packb(["nodeid", packet, {"rooms": ["room"], "except": [], "flags": {}}])
    pipeline = client.commands.pipeline(transaction=False)
    for _ in range(CHUNKS):
        pipeline.publish("socket.io#/#room#", emit)
    await pipeline.execute()
    heard, cpu_s, began_s = 0, time.process_time(), time.perf_counter()
    while heard < CHUNKS:
        for _, data in await ear.hear():
            node_cluster.read_emit(data)
            heard += 1
    spent = (time.process_time() - cpu_s, time.perf_counter() - began_s)
    await client.close()
    return spent[0] / CHUNKS * 1e6, spent[1] / CHUNKS * 1e6


def copying(form: tuple[Format, Callable[[], bool]]) -> Copies:
    """Return what makes copies in one format."""
    return Copies([form], uid="benchmark", names={}, fault=silent)


def encode(copies: Copies) -> float:
    """Return the CPU of making the copies of one chunk, in microseconds."""
    chunk = MessageChunk(*IDS, 7, TEXT)
    began_s = time.process_time()
    for _ in range(CHUNKS):
        copies.of([chunk])
    return (time.process_time() - began_s) / CHUNKS * 1e6


async def measure(url: str) -> None:
    """Print all figures, off and on by turns."""
    formats: dict[str, tuple[Format, Callable[[], bool]]] = {
        "nobody listens": (classic(Channels()), lambda: False),
        "classic adapter": (classic(Channels()), lambda: True),
        "sharded adapter": (sharded(Channels()), lambda: True),
        "streams adapter": (streams("socket.io"), lambda: True),
        "python-socketio": (python("socketio"), lambda: True),
    }
    figures: dict[str, list[Any]] = {"off": []} | {name: [] for name in formats}
    for run in range(RUNS):
        for name, found in figures.items():
            copies = None if name == "off" else copying(formats[name])
            found.append(await append(url, f"{name}{run}".replace(" ", ""), copies))
    for name, found in figures.items():
        cpu, whole = (min(each) for each in zip(*found, strict=True))
        made = 0.0 if name == "off" else encode(copying(formats[name]))
        print(f"append, {name:<16} {cpu:7.1f} us CPU {whole:7.1f} us a chunk, {made:5.2f} us of it the copy")
    heard = [await hear(url) for _ in range(RUNS)]
    cpu, whole = (min(each) for each in zip(*heard, strict=True))
    print(f"hear an emit of a Node server {cpu:7.1f} us CPU {whole:7.1f} us")


async def _measure_alone() -> None:
    async with redis() as url:
        await measure(url)


def main() -> None:
    """Measure."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--url", help="a Redis that may be written to")
    url = asked.parse_args().url
    asyncio.run(measure(url) if url else _measure_alone())


if __name__ == "__main__":
    main()
