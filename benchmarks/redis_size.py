"""What turns cost a Redis: ``python -m benchmarks.redis_size``.

Prints the memory of a turn while it runs and after its end, that of an inbox, and Redis's time for a chunk.
Every chunk is a batch of its own, as from a calm bridge; a busy one merges, which is cheaper.
"""

import argparse
import asyncio
from dataclasses import dataclass

from benchmarks.nodes import redis
from bridge.commands import redis_server
from bridge.letters import Batch
from bridge.messages import MessageChunk, MessageEnd, MessageStart
from bridge.ports import Claim, Prompt
from bridge.redis_client import RedisClient
from bridge.stores.redis import INBOX_LENGTH, RedisStore

DIGEST = "d" * 64


@dataclass(frozen=True, slots=True)
class Load:
    """``turns`` turns of one room at once, each of ``chunks`` chunks of ``characters`` characters."""

    turns: int
    chunks: int
    characters: int

    async def begin(self, store: RedisStore, room: str) -> None:
        """Claim all turns and say that they start."""
        for name in self.names(room):
            prompt = Prompt(f"r-{name}", room, name, "x" * 100)
            claim = Claim(name, prompt, streaming=True, digest=DIGEST, turn_limit=self.turns)
            await store.claim(claim)
            await store.append(name, 1, Batch(1, [MessageStart(*_ids(name, room))]))

    async def say(self, store: RedisStore, room: str) -> None:
        """Say all chunks, each turn one after the other."""
        await asyncio.gather(*(self._say(store, name, room) for name in self.names(room)))

    async def _say(self, store: RedisStore, name: str, room: str) -> None:
        for seq in range(1, self.chunks + 1):
            chunk = MessageChunk(*_ids(name, room), seq, "x" * self.characters)
            await store.append(name, 1, Batch(seq + 1, [chunk], position=str(seq)))

    async def end(self, store: RedisStore, room: str) -> None:
        """End all turns."""
        for name in self.names(room):
            end = MessageEnd(*_ids(name, room), "x" * self.characters * self.chunks, "stop")
            await store.append(name, 1, Batch(self.chunks + 2, [end], ended=True))

    def names(self, room: str) -> list[str]:
        """Return the names of the turns."""
        return [f"{room}-{number:030}" for number in range(self.turns)]


def _ids(name: str, room: str) -> tuple[str, str, str]:
    return f"r-{name}", room, f"m-{name}"


class Meter:
    """Reads what the server says of itself."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def memory_bytes(self) -> int:
        """Return the memory that its data takes."""
        return int((await self._client.commands.info("memory"))["used_memory"])

    async def cpu_s(self) -> float:
        """Return the time that its process has used."""
        info = await self._client.commands.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def main(load: Load) -> None:
    """Print the figures of ``load`` on a redis-server of its own."""
    program, origin = redis_server.find()
    print(f"{program} ({origin}): {load.turns} turns of {load.chunks} chunks of {load.characters} characters")
    async with redis() as url:
        one, two = await _store(url, "one"), await _store(url, "two")
        await measure(load, one, two, Meter(RedisClient(url)))
        for store in (one, two):
            await store.close()


async def _store(url: str, name: str) -> RedisStore:
    store = RedisStore(RedisClient(url), name, lease_s=30, turn_s=180, window_s=600)
    await store.start()
    await store.beat()
    return store


async def measure(load: Load, one: RedisStore, two: RedisStore, meter: Meter) -> None:
    """Run ``load`` in a room that only one node holds, then in one that two hold."""
    empty = await meter.memory_bytes()
    await load.begin(one, "apart")
    await _told("chunks, no other node", load, one, meter, "apart")
    running = await meter.memory_bytes() - empty
    await load.end(one, "apart")
    ended = await meter.memory_bytes() - empty
    await two.enter("shared")
    before = await meter.memory_bytes()
    await load.begin(one, "shared")
    await _told("chunks, one other node", load, one, meter, "shared")
    inbox = await meter.memory_bytes() - before - running
    letters = min(load.turns * (load.chunks + 1), INBOX_LENGTH)
    print(f"a running turn          {running / load.turns / 1024:8.1f} KiB")
    print(f"an ended turn           {ended / load.turns / 1024:8.1f} KiB")
    print(f"an inbox of {letters:<5}       {inbox / 1024 / 1024:8.1f} MiB (the most: {INBOX_LENGTH})")


async def _told(what: str, load: Load, store: RedisStore, meter: Meter, room: str) -> None:
    loop, chunks = asyncio.get_running_loop(), load.turns * load.chunks
    began_s, cpu_s = loop.time(), await meter.cpu_s()
    await load.say(store, room)
    took_s, used_s = loop.time() - began_s, await meter.cpu_s() - cpu_s
    print(f"{what:<22}  {chunks / took_s:8.0f} /s, {used_s / chunks * 1e6:.0f} us of Redis each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis_size")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--characters", type=int, default=6)
    given = parser.parse_args()
    asyncio.run(main(Load(given.turns, given.chunks, given.characters)))
