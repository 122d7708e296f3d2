"""The flag in Redis: one stream ``flag`` of its last changes, which every node follows with a blocking read.

The last entry is the value that holds; its id is Redis TIME and only grows, so it says which of two changes
is the later one. A node asks its own copy, never Redis, and keeps its last known value while Redis is gone.
When Redis comes back without changes that a living node knows (a flush, a lost second of its AOF, a replica
that was behind), that node writes them anew; a change that Redis got meanwhile is later than those, and
stands.

The stream is the one key of the bridge without a TTL: a flag that ops turned off must not turn itself on
again after a quiet month. It is capped instead.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from bridge.changes import HISTORY_LENGTH, Change, Edit, FlagState, Reason, parse_change
from bridge.errors import FlagRefused, StoreUnavailable
from bridge.events import Id
from bridge.redis_client import BLOCK_S, TROUBLE, Entry, RedisClient, entries_in
from bridge.rollout import Rollout

RETRY_S = 0.1
"""A lost connection is tried again so soon: a change made just after Redis came back is heard in time."""
ATTEMPTS = 8


class RedisFlag:
    """The flag that nodes share; ``heard`` is told of each change, of whichever node, once.

    Does nothing until `start`. `change` and `state` work without it too: they ask Redis first.
    """

    def __init__(
        self,
        client: RedisClient,
        default: Rollout,
        heard: Callable[[Change], None] = lambda _: None,
        *,
        prefix: str = "bridge:",
    ) -> None:
        self.unreadable = 0
        """How many changes could not be read."""
        self._redis = client
        self._prefix = prefix
        self._key = f"{prefix}flag"
        self._newest = ("XREVRANGE", self._key, "+", "-", "COUNT", 1)
        self._line = client.waiting_line()
        self._state = FlagState(default)
        self._heard = heard
        self._entries: deque[tuple[bytes, bytes]] = deque(maxlen=HISTORY_LENGTH)
        self._follower: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<RedisFlag {self._state.rollout}, {self._state.source}>"

    async def start(self) -> None:
        """Learn the value, and follow it from now on.

        Raises `StoreUnavailable` when nobody answers, but goes on trying.
        """
        try:
            await self._catch_up()
        finally:
            self._follower = asyncio.create_task(self._follow(), name="flag")

    async def close(self) -> None:
        """Follow no more; the connections are the client's."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    async def streaming(self, room_id: Id, user: str) -> bool:
        """Return whether a turn that begins now streams; see `Flag.streaming`."""
        return self._state.rollout.streams(room_id, user)

    async def state(self) -> FlagState:
        """Return the value that holds; see `Switch.state`. This node's own copy while Redis is gone."""
        if self._follower is None:
            await self._catch_up()
        return self._state

    async def change(self, edit: Edit, reason: Reason) -> FlagState:
        """Change the flag on all nodes at once; see `Switch.change`."""
        for _ in range(ATTEMPTS):  # once, unless others change it in the same millisecond
            await self._restore(await self._redis.call(*self._newest))
            await self._catch_up()
            if self._state.settled(edit) or await self._add(edit, reason):
                return self._state
        raise StoreUnavailable("unable to change the flag; others change it all the time")

    async def _add(self, edit: Edit, reason: Reason) -> bool:
        """Keep the change if it is made to the latest value."""
        before = self._state.rollout
        text = json.dumps(Change("", "", edit.applied(before), before, reason).wire()).encode()
        entry_id = await self._redis.run("flag_change", self._prefix, self._last, text, HISTORY_LENGTH)
        if entry_id is not None:
            self._learn([(entry_id, [b"change", text])])
        return entry_id is not None

    @property
    def _last(self) -> bytes:
        return self._entries[-1][0] if self._entries else b""

    async def _catch_up(self) -> None:
        """Learn what is behind our last change. Raises `StoreUnavailable`."""
        after = b"(" + self._last if self._last else b"-"
        self._learn(await self._redis.call("XRANGE", self._key, after, "+"))

    async def _restore(self, newest: Sequence[Entry]) -> None:
        """Write anew what we know and Redis lost, as ``newest`` shows. Raises `StoreUnavailable`."""
        if self._entries and _order(newest[0][0] if newest else b"0-0") < _order(self._last):
            known = [part for entry in self._entries for part in entry]
            await self._redis.run("flag_restore", self._prefix, HISTORY_LENGTH, *known)

    async def _follow(self) -> None:
        """Learn each change as it is made; every second without one, see that Redis still has the last."""
        while True:
            try:
                await self._restore(await self._redis.call(*self._newest))
                while True:
                    await self._learn_next()
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)

    async def _learn_next(self) -> None:
        """Wait for changes, for a second at most, and learn them. Raises `StoreUnavailable`.

        Both questions leave together: to ask the second one apart would wake an idle process up once more.
        """
        wait = ("XREAD", "BLOCK", round(BLOCK_S * 1000), "STREAMS", self._key, self._last or b"0-0")
        try:
            found, newest = await self._line.calls(wait, self._newest)
        except TROUBLE as exc:
            raise StoreUnavailable("unable to follow the flag; Redis does not answer") from exc
        if entries := entries_in(found):
            self._learn(entries)
        else:
            await self._restore(newest)

    def _learn(self, entries: Iterable[Entry]) -> None:
        for entry_id, fields in entries:
            if self._last and _order(entry_id) <= _order(self._last):
                continue  # the follower and a change of ours may learn the same one
            text = fields[1] if fields[0] == b"change" else b""
            self._entries.append((entry_id, text))
            try:
                change = _change(entry_id, text)
            except (FlagRefused, ValueError, TypeError, RecursionError):
                self.unreadable += 1
                continue
            self._state = self._state.changed(change)
            if self._follower is not None:  # what was changed before we came is no news
                self._heard(change)


def _change(entry_id: bytes, text: bytes) -> Change:
    said = json.loads(text)
    when = datetime.fromtimestamp(_order(entry_id)[0] / 1000, UTC).isoformat(timespec="milliseconds")
    return parse_change({**said, "version": entry_id.decode(), "when": when.replace("+00:00", "Z")})


def _order(entry_id: bytes) -> tuple[int, int]:
    time_ms, _, number = entry_id.partition(b"-")
    return int(time_ms), int(number)
