"""What the bridge adds in the backend's place, flag off: the same POST directly and through it, in turn.

python -m benchmarks.drop_in [--rate 50] [--seconds 4] [--rounds 5]

The backend and the chat-server run here, in one process beside the bridge's. A request leaves when its time
has come, whether those before it were answered or not.
"""

import argparse
import asyncio
import statistics
import time

import aiohttp
from aiohttp import web

from benchmarks.nodes import backend, node

ANSWER = {
    "messageId": "m-1",
    "requestId": "r-1",
    "roomId": 42,
    "role": "assistant",
    "content": "word " * 200,
    "createdAt": "2026-01-01T00:00:00.000Z",
}


async def _complete(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response(ANSWER)


async def _timed(session: aiohttp.ClientSession, address: str, number: int) -> float:
    """Return how many milliseconds one POST took."""
    body = {"roomId": 42, "content": "What is new? " * 10, "requestId": f"r-{number}"}
    began = time.perf_counter()
    async with session.post(f"{address}/chat/messages", json=body) as answer:
        told = await answer.json()
    took_ms = (time.perf_counter() - began) * 1000
    if told != ANSWER:
        raise RuntimeError("unable to measure; the answer is another")
    return took_ms


async def _run(session: aiohttp.ClientSession, address: str, rate: float, seconds: float) -> list[float]:
    tasks, due = [], time.monotonic()
    for number in range(int(rate * seconds)):
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(_timed(session, address, number)))
    return list(await asyncio.gather(*tasks))


async def measure(arguments: argparse.Namespace) -> None:
    """Run all rounds and print the figures."""
    async with (
        backend(complete=_complete) as direct,
        node(BACKEND_URL=direct, CHAT_STREAMING_ENABLED="off") as bridge,
    ):
        await _rounds(arguments, direct, bridge.address)


async def _rounds(arguments: argparse.Namespace, direct: str, through: str) -> None:
    taken: dict[str, list[float]] = {"direct": [], "through": []}
    added = []
    async with aiohttp.ClientSession() as session:
        for address in (direct, through):  # connections are made and code is warm
            await _run(session, address, arguments.rate, 1)
        for _ in range(arguments.rounds):
            medians = {}
            for name, address in (("direct", direct), ("through", through)):
                run = await _run(session, address, arguments.rate, arguments.seconds)
                taken[name] += run
                medians[name] = statistics.median(run)
            added.append(medians["through"] - medians["direct"])
    print(f"{arguments.rate:g} POSTs/s, {arguments.rounds} rounds of {arguments.seconds:g} s each way")
    for name, latencies in taken.items():
        cut = statistics.quantiles(latencies, n=100)
        print(f"{name:8} ms: p50 {cut[49]:.2f}  p95 {cut[94]:.2f}  p99 {cut[98]:.2f}")
    rounds = "  ".join(f"{each:.2f}" for each in added)
    print(f"added at p50, ms: {statistics.median(added):.2f}  (rounds: {rounds})")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=50, help="POSTs per second")
    parser.add_argument("--seconds", type=float, default=4, help="how long each run takes")
    parser.add_argument("--rounds", type=int, default=5, help="how many runs each way")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
