"""Reads the inbox of one node: stream entries in, letters out, in order; knows when some are lost."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache, partial
from typing import Any

from bridge import codec
from bridge.letters import Anew, Batch, Letter, Lost, Ordered, Said, StopWanted
from bridge.redis_client import BACK_OFF_S, BLOCK_S, TROUBLE, Entry, RedisClient, entries_in
from bridge.redis_line import RedisLine

LETTERS_AT_ONCE = 500
READS_APART_S, BUSY_APART_S = 0.016, 0.033
"""Reads are no closer than this, a frame of a display, and two behind a read that brought several letters.

To wake up twice, for the pause and for the answer, costs as much as to take ten letters.
"""
ALONG_APART_S, ALONG_S = 0.025, 0.05
"""Reads that go along with what the node appends are so far apart; it waits so long for one where it appended
less than that ago, and then reads alone.

They cost no write and no wake-up; they are apart because what is heard at once is cheaper than one by one.
"""
ROOMS_KNOWN = 4096

_room_id = lru_cache(ROOMS_KNOWN)(json.loads)  # most letters are of rooms that spoke a moment ago


class InboxReader:
    """Where a node is in its inbox, the stream ``inbox``; ``life`` is the hash that counts its letters."""

    def __init__(self, client: RedisClient, *, inbox: str, life: str) -> None:
        self.unreadable = 0
        """How many letters could not be read."""
        self._line = client.waiting_line()
        self._inbox, self._life = inbox, life
        self._last = b"0-0"
        self._number: int | None = None
        """Of the last letter; the next one has the next number. None: the next one may have any."""
        self._lost = False
        self.oldest_ms, self.read_at_s = 0, time.monotonic()
        """The Redis TIME at which the oldest of the letters read last was written, and when it was read."""
        self._along: asyncio.Future[list[Entry]] | None = None
        self._along_from_s = self._passed_at_s = 0.0

    async def letters(self) -> AsyncIterator[Letter]:
        """Give what comes, for as long as it is iterated; see `Inbox.letters`."""
        pause_s, apart_s = BACK_OFF_S[0], 0.0
        while True:
            try:
                entries = (apart_s and await self._brought_along(apart_s)) or await self._next_entries()
                pause_s, apart_s = BACK_OFF_S[0], 0.0
            except TROUBLE:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
                continue
            for entry_id, number, letter in self._decoded(entries):
                self._last = entry_id
                if number is not None:
                    self._lost = self._lost or (self._number is not None and number != self._number + 1)
                    self._number = number
                if self._lost:
                    self._lost = False
                    yield Lost()
                if letter is not None:
                    apart_s = BUSY_APART_S if apart_s else READS_APART_S  # an echo alone puts off no read
                    yield letter
            if self._lost:
                self._lost = False
                yield Lost()

    def read_along(self, line: RedisLine) -> None:
        """Have a read that is due leave with what ``line`` is about to send."""
        self._passed_at_s = now_s = time.monotonic()
        if self._along is not None and now_s >= self._along_from_s:
            self._along_from_s = now_s + ALONG_APART_S
            line.exchange([self._read_command()], partial(self._came_along, self._along), gather=True)

    def _came_along(self, along: "asyncio.Future[list[Entry]]", answers: list[Any] | None) -> None:
        """Take what a read brought, unless another has brought the same since it left."""
        if answers is None or along.done() or isinstance(answers[0], Exception):
            return
        if entries := self._noted(answers[0]):
            along.set_result(entries)

    async def _brought_along(self, apart_s: float) -> list[Entry]:
        """Return what a read brings that goes along with an append; nothing where the next must go alone."""
        loop, now_s = asyncio.get_running_loop(), time.monotonic()
        wait_s = self.read_at_s - now_s + (ALONG_S if now_s - self._passed_at_s < ALONG_S else apart_s)
        self._along_from_s = self.read_at_s + ALONG_APART_S
        along: asyncio.Future[list[Entry]] = loop.create_future()
        self._along = along
        alone = loop.call_later(wait_s, _go_alone, along)
        try:
            return await along
        finally:
            alone.cancel()
            self._along = None

    async def _next_entries(self) -> list[Entry]:
        """Wait for letters; where none comes, look whether one should have."""
        entries = await self._entries(round(BLOCK_S * 1000))
        if entries or self._number is None:
            return entries
        count = await self._line.call("HGET", self._life, "letters")
        entries = await self._entries(None)  # what was counted is here, if it is anywhere
        if not entries and (count is None or int(count) != self._number):
            await self._begin_anew()
        return entries

    async def _begin_anew(self) -> None:
        """Go on behind what there is: after a failover the inbox may be an earlier one, or none."""
        top = await self._line.call("XREVRANGE", self._inbox, "+", "-", "COUNT", 1)
        self._last, self._number, self._lost = top[0][0] if top else b"0-0", None, True

    async def _entries(self, block_ms: int | None) -> list[Entry]:
        blocks = () if block_ms is None else ("BLOCK", block_ms)
        return self._noted(await self._line.call(*self._read_command(*blocks)))

    def _read_command(self, *blocks: Any) -> tuple[Any, ...]:
        return ("XREAD", "COUNT", LETTERS_AT_ONCE, *blocks, "STREAMS", self._inbox, self._last)

    def _noted(self, found: Any) -> list[Entry]:
        """Return the entries that were ``found``, and note when."""
        entries = entries_in(found)
        if entries:
            self.oldest_ms, self.read_at_s = int(entries[0][0].partition(b"-")[0]), time.monotonic()
        return entries

    def _decoded(self, entries: list[Entry]) -> list[tuple[bytes, int | None, Letter | None]]:
        """Return the id of each entry, the number of its letter, and what it says, as far as it can be read.

        A letter is read by position: its number, its kind, then what it says, each behind its name.
        All are read before the first is heard: what a device is written to between two takes their caches.
        """
        decoded = []
        for entry_id, fields in entries:
            number = letter = None
            try:
                number, kind = int(fields[1]), fields[3]
                letter = None if kind == b"echo" else _read(kind, fields[5::2])
            except (IndexError, ValueError, RecursionError):
                self.unreadable += 1
            decoded.append((entry_id, number, letter))
        return decoded


def _go_alone(along: "asyncio.Future[list[Entry]]") -> None:
    if not along.done():
        along.set_result([])


def _read(kind: bytes, values: Sequence[bytes]) -> Letter:
    """Return what a letter of this make says; what stands behind is of a later one."""
    match kind:
        case b"said":
            room, turn, number, ended, batch, *_ = values
            said = Batch(int(number), codec.decode(batch), ended == b"1")
            return Said(turn.decode(), _room_id(room), said)
        case b"anew":
            room, turn, *_ = values
            return Anew(turn.decode(), _room_id(room))
        case b"stop":
            turn, *_ = values
            return StopWanted(turn.decode())
        case b"ordered":
            node, order, *_ = values
            return Ordered(node.decode(), order.decode())
        case _:
            raise ValueError(f"unable to read a letter; its kind {kind!r} is unknown")
