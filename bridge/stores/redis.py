"""Journal and inbox in Redis 6.2 or newer: every decision is one Lua script, time is Redis TIME.

Keys, each with the prefix and a TTL: ``turn:ID`` (hash), ``journal:ID`` (stream; the id of its n-th batch
is n-0), ``asked:REQUEST``, ``name:ROOM:REQUEST`` and ``answer:ROOM:MESSAGE`` (turn ids), ``running:ROOM`` and
``nodes:ROOM`` (sets; that of no room holds all nodes), ``ended:ROOM`` (sorted set: turns that ended lately),
``leases`` (sorted set), ``node:ID`` (hash: when its life began, the number of its last letter), ``inbox:ID``
(capped stream), ``ordered:ID`` (the number of its last order).
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from bridge import codec
from bridge.errors import SettingsError, StoreUnavailable
from bridge.events import Id
from bridge.group_commit import GroupCommit
from bridge.inbox_reader import InboxReader
from bridge.letters import Batch, Letter
from bridge.messages import Message, MessageEnd, MessageStart, NewMessage, is_asked
from bridge.outbox import Outbox
from bridge.ports import (
    Appended,
    Attached,
    Busy,
    Claim,
    Claimed,
    Command,
    Conflict,
    Entered,
    Kept,
    Outbound,
    Prompt,
    Taken,
)
from bridge.redis_client import RedisClient
from bridge.transcript import Transcript

INBOX_LENGTH = 20_000
HEARTBEAT_S = 6.0
"""A node that said nothing for so long is written to no more; it enters its rooms again when it is back."""
FIRST_WORDS = 3
"""The first batches of a turn wait for those of no other: what was asked, the start, and the first text."""
ROOM_TTL_S = 2 * 86_400.0
TAKEN_AT_ONCE = 16
ROOMS_A_BEAT = 64
FRESH_S = 0.1
"""So long ago a beat may have seen that no lease has expired."""
NOWHERE = '""'
"""The JSON of a position that is not known."""
_json = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make an encoder each time


class RedisStore:
    """The store that the node ``node_id`` shares with others; does nothing until `start`.

    A request is one of ``backend``, a name: asked of another backend it is another request.
    """

    def __init__(
        self,
        client: RedisClient,
        node_id: str,
        *,
        lease_s: float,
        turn_s: float,
        window_s: float,
        outbound: Outbound | None = None,
        prefix: str = "bridge:",
        backend: str = "",
    ) -> None:
        self._outbound = outbound
        self._node_id = node_id
        self._prefix = prefix
        self._backend = backend
        self._lease_ms, self._turn_ms, self._window_ms = (
            round(s * 1000) for s in (lease_s, turn_s, window_s)
        )
        self._inbox_ms = self._turn_ms + self._window_ms
        self._redis = client
        self._reader = InboxReader(client, inbox=f"{prefix}inbox:{node_id}", life=f"{prefix}node:{node_id}")
        self._appends = GroupCommit(client, self._reader.read_along)
        self._outbox = Outbox(client, [prefix, node_id, INBOX_LENGTH, self._inbox_ms])
        self._beaten_at_ms = self._in_touch_since_ms = 0
        self._beaten_at_s = 0.0
        self._none_expired_at_s = float("-inf")
        self._out_of_touch = True
        self._held: dict[str, None] = {}
        self._born: bytes | None = None
        self._died = False

    def __repr__(self) -> str:
        return f"<RedisStore node={self._node_id} {self._appends!r}>"

    async def start(self) -> None:
        """Begin to send, and check that the server keeps what the bridge promises.

        Raises `SettingsError` when it does not, and is closed then; and `StoreUnavailable` when nobody
        answers, but goes on trying.
        """
        self._outbox.start()
        try:
            await self._redis.check()
        except SettingsError:
            await self.close()
            raise

    async def close(self) -> None:
        """Send what waits, for a short time, be no node any more, and close the connections."""
        await asyncio.gather(self._appends.close(), self._outbox.close())
        if not self._out_of_touch:
            with contextlib.suppress(StoreUnavailable):  # its life runs out by itself
                keys = (f"{self._prefix}{kind}:{self._node_id}" for kind in ("node", "inbox", "ordered"))
                await self._redis.call("DEL", *keys)
        await self._redis.close()

    # -- the journal

    async def claim(self, claim: Claim) -> Claimed | Attached | Conflict | Busy:
        """Decide who owns the turn of a request; see `Journal.claim`."""
        prompt = claim.prompt
        said, turn = await self._redis.run(
            "claim",
            self._prefix, self._node_id, claim.turn_id, self._asked(prompt), claim.digest,
            claim.turn_limit,
            _json(prompt.room_id), _json(prompt.request_id), _packed(claim), int(claim.streaming),
            self._lease_ms, self._turn_ms, self._window_ms, secrets.token_hex(8),
        )  # fmt: skip
        match said:
            case b"claimed":
                return Claimed()
            case b"attached":
                return Attached(turn.decode())
            case b"conflict":
                return Conflict()
            case _:
                return Busy()

    def append(self, turn_id: str, epoch: int, batch: Batch) -> asyncio.Future[Appended]:
        """Keep ``batch`` with all others that wait; see `Journal.append`."""
        position = _json(batch.position) if batch.position else NOWHERE
        arguments = [
            self._prefix, self._node_id, turn_id, epoch, batch.number, int(batch.ended),
            codec.encode(batch.messages), position, _answer(batch), self._lease_ms,
            self._turn_ms, self._window_ms, INBOX_LENGTH, self._inbox_ms, *self._copies(batch.messages),
        ]  # fmt: skip
        return self._appends.append(turn_id, arguments, urgent=batch.number <= FIRST_WORDS)

    async def read(self, turn_id: str) -> Transcript | None:
        """Return what was kept of a turn; see `Journal.read`."""
        found = await self._redis.run("read", self._prefix, turn_id)
        return _transcript(*found) if found else None

    async def find(
        self, room_id: Id, *, message_id: Id | None = None, request_id: Id | None = None
    ) -> str | None:
        """Return the turn of a room by a name; see `Journal.find`."""
        for kind, name in (("answer", message_id), ("name", request_id)):
            if name is not None:
                key = f"{self._prefix}{kind}:{_json(room_id)}:{_json(name)}"
                turn = await self._redis.call("GET", key)
                if turn is not None:
                    return str(turn.decode())
        return None

    async def stop(self, turn_id: str) -> bool:
        """Ask the owner of a turn to stop it; see `Journal.stop`."""
        return bool(await self._redis.run("stop", self._prefix, turn_id, INBOX_LENGTH, self._inbox_ms))

    async def restore(self, taken: Taken, batch: Batch) -> Kept:
        """Keep a turn anew whose journal is gone; see `Journal.restore`."""
        claim, prompt = taken.claim, taken.claim.prompt
        said = await self._redis.run(
            "restore",
            self._prefix, self._node_id, claim.turn_id, taken.epoch, batch.number, int(batch.ended),
            codec.encode(batch.messages), _json(batch.position), self._asked(prompt), claim.digest,
            _json(prompt.room_id), _json(prompt.request_id), _packed(claim), int(claim.streaming),
            self._lease_ms, self._turn_ms, self._window_ms, _answer(batch), int(taken.stop), INBOX_LENGTH,
            self._inbox_ms, *self._copies(_last_words(batch)),
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
        if time.monotonic() - self._none_expired_at_s < FRESH_S:
            return []
        contact = (self._beaten_at_ms, self._in_touch_since_ms)
        found = await self._redis.run(
            "overdue", self._prefix, self._node_id, self._lease_ms, TAKEN_AT_ONCE, *contact, self._turn_ms
        )
        return [_taken(each) for each in found]

    # -- the inbox

    async def enter(self, room_id: Id) -> Entered:
        """Hold a room, and return what runs in it; see `Inbox.enter`."""
        times = (round(ROOM_TTL_S * 1000), round(HEARTBEAT_S * 1000))
        room = _json(room_id)
        born, found, ended = await self._redis.run("enter", self._prefix, self._node_id, room, *times)
        self._held[room] = None
        self._live(born)
        return Entered([_transcript(*each) for each in found], [turn.decode() for turn in ended])

    async def leave(self, room_id: Id) -> None:
        """Hold a room no longer; see `Inbox.leave`."""
        self._held.pop(_json(room_id), None)
        await self._redis.call("SREM", f"{self._prefix}nodes:{_json(room_id)}", self._node_id)

    def order(self, order: str, to: str = "", copies: Sequence[Command] = ()) -> None:
        """Put ``order`` into the inboxes of other living nodes; see `Inbox.order`."""
        self._outbox.put(order, to, _in_script(copies))

    async def beat(self) -> bool:
        """Say that this node lives; see `Inbox.beat`."""
        rooms = list(self._held)[:ROOMS_A_BEAT]
        times = (round(HEARTBEAT_S * 1000), self._inbox_ms, round(ROOM_TTL_S * 1000), INBOX_LENGTH)
        asked_at_s = time.monotonic()
        try:
            born, now_ms, missing, expired, self._appends.nodes = await self._redis.run(
                "live", self._prefix, self._node_id, *times, *rooms
            )
        except StoreUnavailable:
            self._out_of_touch = True
            raise
        self._beaten_at_s = time.monotonic()
        self._touch(now_ms, self._beaten_at_s - asked_at_s)
        self._none_expired_at_s = float("-inf") if expired else asked_at_s
        for room in rooms:  # the others have their turn at the next beats
            if room in self._held:
                del self._held[room]
                self._held[room] = None
        self._live(born)
        died, self._died = self._died or bool(missing), False
        if died:
            self._held.clear()
        return not died

    def letters(self) -> AsyncIterator[Letter]:
        """Give what comes, in order; see `Inbox.letters`."""
        return self._reader.letters()

    def silent_s(self) -> float:
        """Return how long no letter was read; see `Inbox.silent_s`."""
        return time.monotonic() - self._reader.read_at_s

    def _asked(self, prompt: Prompt) -> str:
        return _json([self._backend, *prompt.asked])

    @property
    def inbox_lag_s(self) -> float:
        """How long the letters read last had waited, by Redis TIME; 0 where none came since two beats."""
        read_at_s = self._reader.read_at_s
        if not self._reader.oldest_ms or time.monotonic() - read_at_s > 2 * HEARTBEAT_S:
            return 0.0
        read_at_ms = self._beaten_at_ms + (read_at_s - self._beaten_at_s) * 1000
        return max(0.0, (read_at_ms - self._reader.oldest_ms) / 1000)

    def _live(self, born: bytes) -> None:
        """Know when our life in Redis began: another time than before means that we were taken for dead."""
        self._died = self._died or self._born not in (None, born)
        self._born = born

    def _touch(self, now_ms: int, waited_s: float) -> None:
        """Know since when Redis answers: a beat that comes late because this node was busy is no outage."""
        if self._out_of_touch or waited_s * 2000 > self._lease_ms:
            self._in_touch_since_ms = now_ms
        self._out_of_touch, self._beaten_at_ms = False, now_ms

    def _copies(self, messages: Sequence[Message]) -> list[Any]:
        """Return the commands for other servers as a script takes them."""
        copies = self._outbound.of(messages) if self._outbound is not None else ()
        return _in_script(copies) if copies else []


def _in_script(copies: Sequence[Command]) -> list[Any]:
    """Return commands as a script takes them, each behind its length."""
    return [part for command in copies for part in (len(command), *command)]


def _packed(claim: Claim) -> str:
    """Return what a node needs that takes the turn over; of the prompt all but its headers."""
    prompt = claim.prompt
    fields = [prompt.request_id, prompt.room_id, prompt.message_id, prompt.content, prompt.user]
    trace = [claim.trace] if claim.trace else []
    return _json([claim.announced_elsewhere, *fields, dict(prompt.extra), *trace])


def _last_words(batch: Batch) -> list[Message]:
    """Return what servers that know no replay must hear of all a turn has said: how it ended."""
    return [
        each for each in batch.messages if isinstance(each, MessageEnd | NewMessage) and not is_asked(each)
    ]


def _answer(batch: Batch) -> str:
    """Return the answer's name as JSON, where the batch begins or ends it: so long the name is known."""
    for each in batch.messages:
        if isinstance(each, MessageStart | MessageEnd | NewMessage) and not is_asked(each):
            return _json(each.message_id)
    return ""


def _transcript(turn: bytes, request: bytes, entries: list[Any]) -> Transcript:
    transcript = Transcript(turn.decode(), json.loads(request))
    for entry_id, fields in entries:
        number = int(entry_id.partition(b"-")[0])
        if transcript.number == 0:
            transcript.number = number - 1  # a restored journal begins with all that was said before
        transcript.take(number, codec.decode(fields[1]))  # ["batch", what it holds]
    return transcript


def _taken(found: list[Any]) -> Taken:
    turn, epoch, prompt, streaming, digest, position, stop, entries = found
    elsewhere, *fields = json.loads(prompt)
    asked, trace = Prompt(*fields[:6]), "".join(fields[6:])
    claim = Claim(turn.decode(), asked, streaming == b"1", digest.decode(), 0, elsewhere, trace)
    transcript = _transcript(turn, _json(asked.request_id).encode(), entries)
    return Taken(epoch, claim, transcript, json.loads(position or b'""'), stop == b"1")
