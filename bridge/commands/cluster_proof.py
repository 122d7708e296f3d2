"""What ``demo --nodes N --check`` proves: the node that streams is killed, and no device loses a word."""

import asyncio
from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import Any

import httpx

from bridge.commands.cluster import Cluster, Node
from bridge.commands.proof import ANSWER_S, ROOM, Witness, say, streamed_to

REQUEST = "killed-1"
TOKENS = 120
CHUNKS_BEFORE = 10
"""So many chunks are heard before the node is killed."""


async def prove(cluster: Cluster, backend_url: str, *, lease_s: float) -> bool:
    """Kill the first node in the middle of its answer; print what was seen; return whether all of it held.

    ``lease_s`` is printed beside the pauses, which cannot be shorter.
    """
    dying, *others = cluster.nodes
    sender, beside, elsewhere = (Witness({"streaming": True}) for _ in range(3))
    legacy = Witness({"streaming": False})
    try:
        await _kill_the_owner(dying, others, [sender, beside], [elsewhere, legacy])
        for witness in (sender, beside, elsewhere):
            await witness.until("ai_message_end", REQUEST)
        await legacy.until("new_message", REQUEST)
    finally:
        for witness in (sender, beside, elsewhere, legacy):
            await witness.leave()
    survivors = ", ".join(node.child.name for node in others)
    print(f"{dying.child.name} was killed in mid-turn: {survivors} went on")
    back = {"device A (came back)": sender, "device B (came back)": beside}
    devices = back | {"device C (elsewhere)": elsewhere}
    held = await _judge(devices, legacy, backend_url)
    pauses = ", ".join(f"{_longest_pause_s(device) * 1000:.0f}" for device in devices.values())
    print(f"        longest pause of A, B, C: {pauses} ms (lease {lease_s * 1000:.0f} ms)")
    return held


async def _kill_the_owner(
    dying: Node, others: Sequence[Node], on_dying: Sequence[Witness], elsewhere: Sequence[Witness]
) -> None:
    """Ask through the node that dies in mid-turn; its devices come back on the others."""
    for witness in on_dying:
        await witness.join(dying.address)
    for witness, node in zip(elsewhere, cycle(others), strict=False):
        await witness.join(node.address)
    await _ask(on_dying[0])
    await elsewhere[0].until("ai_message_chunk", REQUEST, CHUNKS_BEFORE)
    dying.child.process.kill()
    for witness, node in zip(on_dying, cycle(others), strict=False):
        await witness.move(node.address)


async def _ask(sender: Witness) -> None:
    request = {"roomId": ROOM, "content": "Outlive your process.", "requestId": REQUEST, "tokens": TOKENS}
    await sender.client.call("send_message", request)


async def _judge(devices: dict[str, Witness], legacy: Witness, backend_url: str) -> bool:
    held = all(tuple(streamed_to(name, device, REQUEST) for name, device in devices.items()))
    answers = legacy.answers(REQUEST)
    held &= say(len(answers) == 1, f"legacy client (elsewhere): {len(answers)} new_message for the answer")
    texts = {device.of("ai_message_end", REQUEST)[0][0]["content"] for device in devices.values()}
    texts |= {answer["content"] for answer in answers}
    held &= say(texts == {await _stored(backend_url)}, "all devices: the text that the backend has stored")
    calls = await _calls(backend_url)
    held &= say(calls == 1, f"backend: {calls} answer generated")
    return held


async def _stored(backend_url: str) -> str | None:
    """Return the answer that the backend keeps, once it says that it is whole."""
    async with asyncio.timeout(ANSWER_S):
        while True:
            page = await _got(f"{backend_url}/chat/rooms/{ROOM}/messages")
            for row in page["messages"]:
                if (row["requestId"], row["role"], row["status"]) == (REQUEST, "assistant", "success"):
                    return str(row["content"])
            await asyncio.sleep(0.05)


async def _calls(backend_url: str) -> int:
    stats = await _got(f"{backend_url}/stats")
    return int(stats["calls"][REQUEST]["answers"])


async def _got(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
        answer.raise_for_status()
        got: dict[str, Any] = answer.json()
        return got


def _longest_pause_s(device: Witness) -> float:
    heard_at = [at for _, at in device.of("ai_message_chunk", REQUEST)]
    return max(later - earlier for earlier, later in pairwise(heard_at))
