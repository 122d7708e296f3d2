"""What ``demo --check`` proves, through real clients: two streaming devices and one of today's."""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import socketio

ROOM = "proof"
ANSWER_S = 30.0


@dataclass(slots=True, eq=False)
class Witness:
    """A client that keeps all it hears, with the time of each, in seconds."""

    auth: dict[str, Any]
    client: Any = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def join(self, address: str) -> None:
        """Connect and join the room, with what was heard of answers that are under way."""
        self.client = socketio.AsyncClient(reconnection=False)
        self.gone.clear()
        self.client.on("*", self._hear)
        self.client.on("disconnect", self._lost)
        await self.client.connect(address, auth=self.auth, transports=["websocket"], wait_timeout=ANSWER_S)
        await self.client.call("join_room", {"roomId": ROOM, "resume": self._under_way()})

    async def move(self, address: str) -> None:
        """Wait until the connection is lost, and come back at another ``address``."""
        async with asyncio.timeout(ANSWER_S):
            await self.gone.wait()
        await self.join(address)

    async def leave(self) -> None:
        """Disconnect."""
        if self.client is not None:
            await self.client.disconnect()

    def _under_way(self) -> dict[str, int]:
        ended = {data["messageId"] for name, data, _ in self.heard if name == "ai_message_end"}
        last = {data["messageId"]: data["seq"] for name, data, _ in self.heard if name == "ai_message_chunk"}
        return {message_id: seq for message_id, seq in last.items() if message_id not in ended}

    def _lost(self, _why: str) -> None:
        self.gone.set()

    def _hear(self, name: str, data: dict[str, Any]) -> None:
        self.heard.append((name, data, time.monotonic()))
        self.changed.set()

    def of(self, name: str, request_id: str) -> list[tuple[dict[str, Any], float]]:
        """Return what was heard under ``name`` for one request."""
        return [(data, at) for n, data, at in self.heard if n == name and data["requestId"] == request_id]

    def answers(self, request_id: str) -> list[dict[str, Any]]:
        """Return the complete answers heard for one request."""
        return [data for data, _ in self.of("new_message", request_id) if data["role"] == "assistant"]

    async def until(self, name: str, request_id: str, count: int = 1) -> None:
        """Wait until an answer (``new_message``), or so many of another message, came."""
        async with asyncio.timeout(ANSWER_S):
            while (
                len(self.answers(request_id) if name == "new_message" else self.of(name, request_id)) < count
            ):
                self.changed.clear()
                await self.changed.wait()


async def prove(address: str) -> bool:
    """Run a turn with the flag on and one with it off; print what was seen; return whether all of it held."""
    devices = [Witness({"streaming": True}), Witness({"streaming": True})]
    legacy = Witness({"streaming": False})
    witnesses = [*devices, legacy]
    try:
        for witness in witnesses:
            await witness.join(address)
        held = await _streamed(devices, legacy)
        await _switch(address, "off")
        return await _whole(devices, legacy) and held
    finally:
        for witness in witnesses:
            await witness.leave()


async def _streamed(devices: list[Witness], legacy: Witness) -> bool:
    began = time.monotonic()
    request = {"roomId": ROOM, "content": "Show me how an answer grows.", "requestId": "on-1"}
    await devices[0].client.call("send_message", request)
    await asyncio.gather(
        *(d.until("ai_message_end", "on-1") for d in devices), legacy.until("new_message", "on-1")
    )
    print("flag on: the answer streams")
    held = all(
        tuple(
            streamed_to(f"device {name}", device, "on-1") for name, device in zip("AB", devices, strict=True)
        )
    )
    answers = legacy.answers("on-1")
    held &= say(len(answers) == 1, f"legacy client: {len(answers)} new_message for the answer")
    same = bool(answers) and answers[0]["content"] == devices[0].of("ai_message_end", "on-1")[0][0]["content"]
    held &= say(same, "legacy client: the same text")
    ttft_ms = (devices[0].of("ai_message_chunk", "on-1")[0][1] - began) * 1000
    completion_ms = (devices[0].of("ai_message_end", "on-1")[0][1] - began) * 1000
    print(f"        TTFT {ttft_ms:.0f} ms, completion {completion_ms:.0f} ms")
    return held


def streamed_to(name: str, device: Witness, request_id: str) -> bool:
    """Print whether the answer grew on ``device`` as the contract says; return it."""
    chunks, ends = device.of("ai_message_chunk", request_id), device.of("ai_message_end", request_id)
    early = (ends[0][1] - chunks[0][1]) * 1000 if chunks else 0.0
    contiguous = all(
        b.get("fromSeq", b["seq"]) == a["seq"] + 1
        for (a, _), (b, _) in pairwise([({"seq": 0}, 0.0), *chunks])
    )
    joined = "".join(chunk["delta"] for chunk, _ in chunks)
    return all(
        [
            say(early > 0, f"{name}: first chunk {early:.0f} ms before the response was complete"),
            say(contiguous and len(chunks) > 1, f"{name}: {len(chunks)} chunks, seq contiguous from 1"),
            say(joined == ends[0][0]["content"], f"{name}: joined deltas equal the content"),
            say(len(ends) == 1, f"{name}: {len(ends)} end, {ends[0][0]['finishReason']}"),
        ]
    )


async def _switch(address: str, value: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.put(f"{address}/admin/flag", json={"value": value, "why": "proof"})
        answer.raise_for_status()


async def _whole(devices: list[Witness], legacy: Witness) -> bool:
    request = {"roomId": ROOM, "content": "And now all at once.", "requestId": "off-1"}
    await devices[0].client.call("send_message", request)
    await asyncio.gather(*(witness.until("new_message", "off-1") for witness in [*devices, legacy]))
    print("flag off: the answer comes whole")
    named = (("device A", devices[0]), ("device B", devices[1]), ("legacy client", legacy))
    return all(tuple(_whole_to(name, witness) for name, witness in named))


def _whole_to(name: str, witness: Witness) -> bool:
    streamed = [n for n, data, _ in witness.heard if n.startswith("ai_") and data["requestId"] == "off-1"]
    answers = witness.answers("off-1")
    said = f"{name}: {len(answers)} new_message, {len(streamed)} ai_message_*"
    return say(len(answers) == 1 and not streamed, said)


def say(held: bool, what: str) -> bool:  # noqa: FBT001  (a fact and its words)
    """Print whether ``what`` held; return it."""
    print(f"  {'ok  ' if held else 'FAIL'}  {what}")
    return held
