"""Journal and inbox in Redis 6.2 or newer: every decision is one Lua script, time is Redis TIME.

Keys, each with the prefix and a TTL: ``turn:ID`` (hash), ``journal:ID`` (stream; the id of its n-th batch
is n-0), ``asked:REQUEST`` and ``name:ROOM:NAME`` (turn ids), ``running:ROOM`` and ``nodes:ROOM`` (sets),
``leases`` (sorted set), ``node:ID`` (heartbeat), ``inbox:ID`` (capped stream).
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bridge import codec
from bridge.errors import SettingsError, StoreUnavailable
from bridge.events import Id
from bridge.messages import Message
from bridge.ports import (
    Appended,
    Attached,
    Batch,
    Busy,
    Claim,
    Claimed,
    Conflict,
    Kept,
    Letter,
    Lost,
    Prompt,
    Said,
    StopWanted,
    Taken,
    Told,
)
from bridge.redis_client import ANSWER_S, BLOCK_S, TROUBLE, RedisClient
from bridge.transcript import Transcript

BACK_OFF_S = (0.05, 1.0)
WAITING_LIMIT = 8192
INBOX_LENGTH = 20_000
HEARTBEAT_S = 6.0
"""A node that said nothing for so long is written to no more; it enters its rooms again when it is back."""
ROOM_TTL_S = 2 * 86_400.0
TAKEN_AT_ONCE = 16
LETTERS_AT_ONCE = 500


@dataclass(slots=True, eq=False)
class _Waiting:
    arguments: list[Any]
    kept: asyncio.Future[Appended]


@dataclass(slots=True)
class _Place:
    """Where a node is in its inbox."""

    last: bytes = b"0-0"
    has_read: bool = False
    lost: bool = False


class RedisStore:
    """The store that the node ``node_id`` shares with others; does nothing until `start`."""

    def __init__(
        self,
        client: RedisClient,
        node_id: str,
        *,
        lease_s: float,
        turn_s: float,
        window_s: float,
        prefix: str = "bridge:",
    ) -> None:
        self.unreadable = 0
        """How many letters could not be read."""
        self._node_id = node_id
        self._prefix = prefix
        self._lease_ms, self._turn_ms, self._window_ms = (
            round(s * 1000) for s in (lease_s, turn_s, window_s)
        )
        self._redis = client
        self._waiting: list[_Waiting] = []
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._sender: asyncio.Task[None] | None = None
        self._beaten_at_ms = self._in_touch_since_ms = 0

    def __repr__(self) -> str:
        return f"<RedisStore node={self._node_id} waiting={len(self._waiting)}>"

    async def start(self) -> None:
        """Begin to send, and check that the server keeps what the bridge promises.

        Raises `SettingsError` when it does not, and is closed then; and `StoreUnavailable` when nobody
        answers, but goes on trying.
        """
        self._sender = asyncio.create_task(self._send_all(), name="redis sender")
        try:
            await self._redis.check()
        except SettingsError:
            await self.close()
            raise

    async def close(self) -> None:
        """Send what waits, for a short time, and close the connections."""
        if self._sender is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await self._idle.wait()
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        await self._redis.close()

    # -- the journal

    async def claim(self, claim: Claim) -> Claimed | Attached | Conflict | Busy:
        """Decide who owns the turn of a request; see `Journal.claim`."""
        prompt = claim.prompt
        said, turn = await self._redis.run(
            "claim",
            self._prefix, self._node_id, claim.turn_id, _asked(prompt), claim.digest, claim.turn_limit,
            _json(prompt.room_id), _json(prompt.request_id), _packed(prompt), int(claim.streaming),
            self._lease_ms, self._turn_ms, self._window_ms,
        )  # fmt: skip
        match said:
            case b"claimed":
                return Claimed()
            case b"attached":
                named = turn.decode()
                return Claimed() if named == claim.turn_id else Attached(named)  # ours: the answer got lost
            case b"conflict":
                return Conflict()
            case _:
                return Busy()

    def append(self, turn_id: str, epoch: int, batch: Batch) -> asyncio.Future[Appended]:
        """Keep ``batch`` with all others that wait; see `Journal.append`."""
        kept: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= WAITING_LIMIT:
            kept.set_exception(StoreUnavailable("unable to keep a batch; too many wait already"))
            return kept
        arguments = [
            self._prefix, self._node_id, turn_id, epoch, batch.number, int(batch.ended),
            codec.encode(batch.messages), batch.position, _answer(batch), self._lease_ms, self._turn_ms,
            self._window_ms, INBOX_LENGTH,
        ]  # fmt: skip
        self._waiting.append(_Waiting(arguments, kept))
        self._idle.clear()
        self._wake.set()
        return kept

    async def read(self, turn_id: str) -> Transcript | None:
        """Return what was kept of a turn; see `Journal.read`."""
        found = await self._redis.run("read", self._prefix, turn_id)
        return _transcript(*found) if found else None

    async def find(
        self, room_id: Id, *, message_id: Id | None = None, request_id: Id | None = None
    ) -> str | None:
        """Return the turn of a room by a name; see `Journal.find`."""
        for name in (message_id, request_id):
            if name is not None:
                key = f"{self._prefix}name:{_json(room_id)}:{_json(name)}"
                turn = await self._redis.ask(partial(self._redis.commands.get, key))
                if turn is not None:
                    return str(turn.decode())
        return None

    async def stop(self, turn_id: str) -> bool:
        """Ask the owner of a turn to stop it; see `Journal.stop`."""
        return bool(await self._redis.run("stop", self._prefix, turn_id, INBOX_LENGTH))

    async def restore(self, taken: Taken, batch: Batch) -> Kept:
        """Keep a turn anew whose journal is gone; see `Journal.restore`."""
        claim, prompt = taken.claim, taken.claim.prompt
        said = await self._redis.run(
            "restore",
            self._prefix, self._node_id, claim.turn_id, taken.epoch, batch.number, int(batch.ended),
            codec.encode(batch.messages), batch.position, _asked(prompt), claim.digest, _json(prompt.room_id),
            _json(prompt.request_id), _packed(prompt), int(claim.streaming), self._lease_ms, self._turn_ms,
            self._window_ms, _answer(batch),
        )  # fmt: skip
        return Kept.OK if said == b"ok" else Kept.FENCED

    async def renew(self, turns: Mapping[str, int]) -> None:
        """Renew the leases of ``turns``; see `Journal.renew`."""
        pairs = [each for pair in turns.items() for each in pair]
        await self._redis.run("renew", self._prefix, self._node_id, self._lease_ms, *pairs)

    async def release(self, turn_id: str, epoch: int) -> bool:
        """Give a running turn away; see `Journal.release`."""
        return bool(await self._redis.run("release", self._prefix, self._node_id, turn_id, epoch))

    async def overdue(self) -> list[Taken]:
        """Take over turns whose lease has expired; see `Journal.overdue`.

        While Redis did not answer nobody could renew: after such a time all owners have a lease to do so.
        """
        contact = (self._beaten_at_ms, self._in_touch_since_ms)
        found = await self._redis.run(
            "overdue", self._prefix, self._node_id, self._lease_ms, TAKEN_AT_ONCE, *contact
        )
        return [_taken(each) for each in found]

    # -- the inbox

    async def enter(self, room_id: Id) -> list[Transcript]:
        """Hold a room, and return its running turns; see `Inbox.enter`."""
        times = (round(ROOM_TTL_S * 1000), round(HEARTBEAT_S * 1000))
        found = await self._redis.run("enter", self._prefix, self._node_id, _json(room_id), *times)
        return [_transcript(*each) for each in found]

    async def leave(self, room_id: Id) -> None:
        """Hold a room no longer; see `Inbox.leave`."""
        key = f"{self._prefix}nodes:{_json(room_id)}"
        await self._redis.ask(partial(self._redis.commands.srem, key, self._node_id))

    async def tell(self, room_id: Id, messages: Sequence[Message]) -> None:
        """Put ``messages`` into the inboxes of the other nodes of a room; see `Inbox.tell`."""
        await self._redis.run(
            "tell", self._prefix, self._node_id, _json(room_id), codec.encode(messages), INBOX_LENGTH
        )

    async def beat(self) -> bool:
        """Say that this node lives; see `Inbox.beat`."""
        key, inbox = f"{self._prefix}node:{self._node_id}", self._inbox
        lives_ms, kept_ms = round(HEARTBEAT_S * 1000), self._turn_ms + self._window_ms

        async def say() -> Any:
            pipeline = self._redis.commands.pipeline(transaction=True)
            pipeline.set(key, 1, px=lives_ms, get=True)
            pipeline.pexpire(inbox, kept_ms)
            pipeline.time()
            return await pipeline.execute()

        before, _, (seconds, microseconds) = await self._redis.ask(say)
        now_ms, first = seconds * 1000 + microseconds // 1000, not self._beaten_at_ms
        if now_ms - self._beaten_at_ms > self._lease_ms // 2:
            self._in_touch_since_ms = now_ms
        self._beaten_at_ms = now_ms
        return before is not None or first

    async def letters(self) -> AsyncIterator[Letter]:
        """Give what comes, in order; see `Inbox.letters`."""
        place, pause_s = _Place(), BACK_OFF_S[0]
        while True:
            try:
                entries = await self._redis.whole(self._next_entries(place))
                pause_s = BACK_OFF_S[0]
            except TROUBLE:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
                continue
            if place.lost:
                place.lost = False
                yield Lost()
            for entry_id, fields in entries:
                place.last, place.has_read = entry_id, True
                letter = self._letter(fields)
                if letter is not None:
                    yield letter

    @property
    def _inbox(self) -> str:
        return f"{self._prefix}inbox:{self._node_id}"

    async def _next_entries(self, place: _Place) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Wait for letters behind ``place``; an inbox that was trimmed beyond it, or is gone, lost some."""
        reader: Any = self._redis.reader
        found = await reader.xread(
            {self._inbox: place.last}, count=LETTERS_AT_ONCE, block=round(BLOCK_S * 1000)
        )
        if not found:
            if place.has_read and not await reader.exists(self._inbox):
                place.last, place.has_read, place.lost = b"0-0", False, True
            return []
        entries: list[tuple[bytes, dict[bytes, bytes]]] = found[0][1]
        if len(entries) == LETTERS_AT_ONCE and place.has_read:
            oldest = await reader.xrange(self._inbox, count=1)
            place.lost = bool(oldest) and _order(oldest[0][0]) > _order(place.last)
        return entries

    def _letter(self, fields: dict[bytes, bytes]) -> Letter | None:
        try:
            match fields[b"kind"]:
                case b"said":
                    batch = Batch(
                        int(fields[b"number"]), codec.decode(fields[b"batch"]), fields[b"ended"] == b"1"
                    )
                    return Said(fields[b"turn"].decode(), json.loads(fields[b"room"]), batch)
                case b"told":
                    return Told(json.loads(fields[b"room"]), codec.decode(fields[b"batch"]))
                case b"stop":
                    return StopWanted(fields[b"turn"].decode())
        except (KeyError, ValueError):
            pass
        self.unreadable += 1
        return None

    async def _send_all(self) -> None:
        """Send all that waits in one round trip, again and again; what got no answer is sent again."""
        pause_s = BACK_OFF_S[0]
        while True:
            await self._wake.wait()
            sending = self._waiting[:]
            try:
                answers = await self._redis.pipeline("append", [each.arguments for each in sending])
            except TROUBLE:
                answers = []
            if self._settle(sending, answers):
                pause_s = BACK_OFF_S[0]
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
            if not self._waiting:
                self._wake.clear()
                self._idle.set()

    def _settle(self, sending: list[_Waiting], answers: list[Any]) -> int:
        """Answer those whose batch was decided; behind the first without a decision all wait on, in order."""
        decided = 0
        for each, answer in zip(sending, answers, strict=False):
            if isinstance(answer, Exception):
                break
            decided += 1
            if not each.kept.done():
                each.kept.set_result(Appended(Kept(answer[0].decode()), bool(answer[1])))
        del self._waiting[:decided]
        return decided


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _asked(prompt: Prompt) -> str:
    return _json([prompt.room_id, prompt.user, prompt.request_id])


def _packed(prompt: Prompt) -> str:
    fields = [prompt.request_id, prompt.room_id, prompt.message_id, prompt.content, prompt.user]
    return _json([*fields, dict(prompt.extra)])


def _answer(batch: Batch) -> str:
    """Return the answer's name as JSON, where the batch is the first that has it."""
    named = next((m.message_id for m in batch.messages if m.message_id is not None), None)
    return "" if named is None else _json(named)


def _order(entry_id: bytes) -> tuple[int, int]:
    time_ms, _, number = entry_id.partition(b"-")
    return int(time_ms), int(number)


def _transcript(turn: bytes, request: bytes, entries: list[Any]) -> Transcript:
    transcript = Transcript(turn.decode(), json.loads(request))
    for entry_id, fields in entries:
        number, _ = _order(entry_id)
        if transcript.number == 0:
            transcript.number = number - 1  # a restored journal begins with all that was said before
        transcript.take(number, codec.decode(fields[1]))  # ["batch", what it holds]
    return transcript


def _taken(found: list[Any]) -> Taken:
    turn, epoch, prompt, streaming, digest, position, stop, entries = found
    asked = Prompt(*json.loads(prompt))
    claim = Claim(turn.decode(), asked, streaming == b"1", digest.decode(), 0)
    transcript = _transcript(turn, _json(asked.request_id).encode(), entries)
    return Taken(epoch, claim, transcript, position.decode(), stop == b"1")
