"""How Redis is reached and asked: one client for answers, one for waiting, scripts by name, errors of ours.

The library tries nothing twice: only what is asked here may be repeated, and knows it.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from bridge.errors import SettingsError, StoreUnavailable
from bridge.lasting_line import LastingLine
from bridge.redis_line import RedisLine

ANSWER_S, BLOCK_S = 1.0, 1.0
"""How long an answer, and a blocking read, may take; the reader's socket waits longer than it blocks."""
BACK_OFF_S = (0.05, 0.25)
"""The first and the longest pause before what had no answer is asked again."""
CALLED_AT_ONCE = 128
"""So many calls may be on their way, over one connection; the others wait their turn."""
AWAKE_S = 0.25
"""So long is asked on when `ANSWER_S` has passed: it may have passed in a sleep of this process."""
HEARD_AT_ONCE = 500
OLDEST_VERSION = (6, 2)
TROUBLE = (RedisError, OSError, TimeoutError)
"""What is raised when there is no answer, or one that says that there will be a better one later."""

Entry = tuple[bytes, Sequence[bytes]]
"""An entry of a stream: its id, then names and values in turn, as they were written."""
T = TypeVar("T")

_LATER = re.compile("NOSCRIPT|OOM|NOREPLICAS|LOADING|READONLY|MASTERDOWN|MISCONF|TRYAGAIN|BUSY")


def is_final(answer: Any) -> bool:
    """Return whether ``answer`` of a script would be the same the next time."""
    if isinstance(answer, NoScriptError | ReadOnlyError | OutOfMemoryError):
        return False
    return not isinstance(answer, Exception) or (
        isinstance(answer, ResponseError) and _LATER.search(str(answer)) is None
    )


class RedisClient:
    """A Redis behind ``url``: redis, rediss, unix, or redis+sentinel://HOST:PORT,.../SERVICE."""

    def __init__(self, url: str) -> None:
        self.commands = _client(url, ANSWER_S)
        self.reader = _client(url, BLOCK_S + 2 * ANSWER_S)
        self._lines = _client(url, ANSWER_S)
        self._asking: set[asyncio.Future[Any]] = set()
        self._shas: dict[str, asyncio.Future[str]] = {}
        self._calls = LastingLine(self.line, self._begun)
        self._lasting = [self._calls]
        self._turn_to_call = asyncio.Semaphore(CALLED_AT_ONCE)

    async def close(self) -> None:
        """Let what is asked be answered, or miss its deadline, and close all connections."""
        if self._asking:
            await asyncio.wait(self._asking, timeout=BLOCK_S + 2 * ANSWER_S)
        for line in self._lasting:
            await line.close()
        for client in (self.commands, self.reader, self._lines):
            await _close(client)

    async def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script answers; as `call`."""
        return await self._in_turn(partial(self._run, script, arguments))

    async def call(self, *command: Any) -> Any:
        """Return what the server says to a command. Raises `StoreUnavailable`.

        All calls go over one connection: with one for each, a burst would begin with making them. Who has
        waited in vain for a turn to call has cost the server nothing.
        """
        return await self._in_turn(partial(self._call, *command))

    async def _run(self, script: str, arguments: tuple[Any, ...]) -> Any:
        sha = await self.sha(script)
        try:
            return await self._call("EVALSHA", sha, 0, *arguments)
        except ResponseError as said:
            if not _is_unknown(said):
                raise
            self._shas.clear()
            return await self._call("EVALSHA", await self.sha(script), 0, *arguments)

    async def _call(self, *command: Any) -> Any:
        line = await self._calls.line()
        try:
            return await line.call(*command)
        except ResponseError as said:
            if not (is_final(said) or _is_unknown(said)):
                line.lose()  # to a server that is no master any more
            raise

    async def line(self) -> RedisLine:
        """Return a connection for commands that are answered at once.

        Raises what is in `TROUBLE` when it cannot be had.
        """
        return await self._line(self._lines, ANSWER_S)

    def waiting_line(self) -> LastingLine:
        """Return a connection for commands that block for up to `BLOCK_S`; it is closed with the others.

        Its calls raise what is in `TROUBLE`.
        """
        line = LastingLine(self._made_to_wait, self._begun)
        self._lasting.append(line)
        return line

    async def _made_to_wait(self) -> RedisLine:
        return await self._line(self.reader, BLOCK_S + 2 * ANSWER_S)

    async def _line(self, client: Redis, answer_s: float) -> RedisLine:
        pool = client.connection_pool
        connection = await self.whole(pool.get_connection())  # type: ignore[no-untyped-call]
        return RedisLine(connection, pool, answer_s=answer_s)

    async def _in_turn(self, once: Callable[[], Awaitable[Any]]) -> Any:
        """Return what ``once`` does within `ANSWER_S`, else within `AWAKE_S` from then on.

        Who was paused finds the deadline passed and the answer, if there is one, unread.
        """

        async def in_turn() -> Any:
            async with self._turn_to_call:
                return await once()

        try:
            try:
                return await _twice(in_turn, ANSWER_S)
            except TimeoutError:
                return await _twice(in_turn, AWAKE_S)
        except TROUBLE as exc:
            raise StoreUnavailable(f"unable to ask Redis; {type(exc).__name__}") from exc

    async def whole(self, asking: Awaitable[Any]) -> Any:
        """Return what ``asking`` gives; who waits for it may be cancelled, it itself may not.

        redis-py 8.1 swallows a good third of the cancellations that reach it in the middle of a command.
        """
        return await asyncio.shield(self._begun(asking))

    def _begun(self, asking: Awaitable[T]) -> "asyncio.Future[T]":
        """Return a task that does ``asking``; what is still under way at the end is waited for."""
        task = asyncio.ensure_future(asking)
        self._asking.add(task)
        task.add_done_callback(self._asked)
        return task

    def _asked(self, task: "asyncio.Future[Any]") -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be waiting for it any more

    async def sha(self, script: str, *, anew: bool = False) -> str:
        """Return the name under which the server knows a script; load it if it does not, or ``anew``."""
        loading = None if anew else self._shas.get(script)
        if loading is None or (loading.done() and (loading.cancelled() or loading.exception() is not None)):
            loading = self._shas[script] = self._begun(self._load(script))
        return await asyncio.shield(loading)  # many may ask for it at one moment: it is loaded once

    async def _load(self, script: str) -> str:
        loaded: str = await self.commands.script_load(_text("post") + _text(script))
        return loaded

    async def check(self) -> None:
        """Raise `SettingsError` when the server would break what the bridge promises, else return."""
        facts = await self._in_turn(lambda: self.whole(self._facts()))
        version = tuple(int(part) for part in str(facts.get("redis_version", "9.9")).split(".")[:2])
        if version < OLDEST_VERSION:
            why = f"the server is {facts['redis_version']}, it must be 6.2 or newer"
            raise SettingsError(f"unable to use REDIS_URL; {why}")
        policy = str(facts.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys"):
            mend = "CONFIG SET maxmemory-policy noeviction"
            raise SettingsError(
                f"unable to use REDIS_URL; {policy} deletes journals that run, mend it by: {mend}"
            )

    async def _facts(self) -> dict[str, Any]:
        try:
            return dict(await self.commands.info())
        except ResponseError:  # forbidden to this user: what it would tell is the operator's to know
            return {}


class Ear:
    """A subscription to ``patterns`` and ``channels``; what is published while it is cut is not heard.

    ``shards`` are sharded channels, which need Redis 7; `follow` changes them.
    """

    def __init__(
        self,
        client: RedisClient,
        patterns: Sequence[str] = (),
        channels: Sequence[str] = (),
        shards: Iterable[str] = (),
    ) -> None:
        self._client = client
        self._patterns, self._channels = patterns, channels
        self._shards = frozenset(shards)
        self._subscription: PubSub | None = None

    async def published(self) -> AsyncIterator[tuple[bytes, bytes]]:
        """Give channel and data of what is published, for as long as it is iterated.

        Survives every loss of the connection.
        """
        pause_s = BACK_OFF_S[0]
        while True:
            try:
                heard = await self.hear()
                pause_s = BACK_OFF_S[0]
            except TROUBLE:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
                continue
            for each in heard:
                yield each

    async def follow(self, shards: frozenset[str]) -> None:
        """Listen to these sharded channels from now on, and to no others."""
        before, self._shards = self._shards, shards
        for command, changed in (("SSUBSCRIBE", shards - before), ("SUNSUBSCRIBE", before - shards)):
            line = self._subscription.connection if self._subscription is not None else None
            if changed and line is not None and line.is_connected:  # else the next one begins with them
                with contextlib.suppress(*TROUBLE):
                    # past the library's own way, which would connect anew beside who listens here
                    await self._client.whole(line.send_command(command, *changed, check_health=False))

    async def hear(self) -> list[tuple[bytes, bytes]]:
        """Wait for what is published, for a while: channel and data of each, in order, or nothing.

        Raises what is in `TROUBLE` when the connection is dead; the next call makes another one.
        """
        try:
            heard: list[tuple[bytes, bytes]] = await self._client.whole(self._hear())
        except TROUBLE:
            if self._subscription is not None:
                await self._client.whole(self._subscription.aclose())  # type: ignore[no-untyped-call]
                self._subscription = None
            raise
        return heard

    async def _hear(self) -> list[tuple[bytes, bytes]]:
        if self._subscription is None:
            self._subscription = await self._subscribed()
        heard: list[tuple[bytes, bytes]] = []
        message = await self._first(self._subscription)
        while message is not None:
            if message["type"] in PubSub.PUBLISH_MESSAGE_TYPES:
                heard.append((message["channel"], message["data"]))
            if len(heard) >= HEARD_AT_ONCE:
                break  # before the next is taken: it would be lost
            message = await self._subscription.get_message(timeout=0)
        return heard

    async def _subscribed(self) -> PubSub:
        subscription: PubSub = self._client.reader.pubsub()
        for subscribe, names in (
            (subscription.psubscribe, self._patterns),
            (subscription.subscribe, self._channels),
            (subscription.ssubscribe, self._shards),
        ):
            if names:
                await subscribe(*names)
        return subscription

    async def _first(self, subscription: PubSub) -> Any:
        """Return the first message; a silence is broken by our own ping, or the connection is dead."""
        message = await subscription.get_message(timeout=BLOCK_S)
        if message is None:
            await subscription.ping()
            message = await subscription.get_message(timeout=ANSWER_S)
            if message is None:
                raise TimeoutError
        return message


async def _twice(once: Callable[[], Awaitable[Any]], within_s: float) -> Any:
    """Return what ``once`` does, tried twice: a connection may have died while idle."""
    async with asyncio.timeout(within_s):
        try:
            return await once()
        except TROUBLE:
            return await once()


def _is_unknown(said: ResponseError) -> bool:
    """Return whether it is a script that the server does not know, or has forgotten."""
    return str(said).startswith("NOSCRIPT")


def entries_in(found: Any) -> list[Entry]:
    """Return what the read of one stream gave; RESP3 names it by a key, RESP2 by the first of two."""
    if not found:
        return []
    said: list[Entry] = next(iter(found.values())) if isinstance(found, dict) else found[0][1]
    return said


@cache
def _text(script: str) -> str:
    return resources.files("bridge.stores").joinpath("lua", f"{script}.lua").read_text("utf-8")


def _client(url: str, timeout_s: float) -> Redis:
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": ANSWER_S,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "driver_info": None,  # this and the next would need the right to CLIENT
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    try:
        if url.startswith("redis+sentinel://"):
            return _behind_sentinel(urlsplit(url), options)
        return Redis.from_url(url, **options)
    except ValueError as exc:
        raise SettingsError("unable to use REDIS_URL; it must look like redis://host:6379/0") from exc


async def _close(client: Redis) -> None:
    await client.aclose()
    sentinel = getattr(client.connection_pool, "sentinel_manager", None)
    for watcher in sentinel.sentinels if sentinel else ():
        await watcher.aclose()


def _plain(quoted: str | None) -> str | None:
    return quoted and unquote(quoted)


def _behind_sentinel(url: SplitResult, options: dict[str, Any]) -> Redis:
    hosts = [each.rpartition(":") for each in url.netloc.rpartition("@")[2].split(",")]
    service, _, db = url.path.strip("/").partition("/")
    if not (service and all(port for _, _, port in hosts)):
        raise ValueError("a Sentinel URL names its hosts and a service")
    sentinels = [(host or port, int(port) if host else 26379) for host, _, port in hosts]
    known: dict[str, Any] = {
        "username": _plain(url.username),
        "password": _plain(url.password),
        "db": int(db or 0),
    }
    sentinel = Sentinel(sentinels, **options)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(service, **options, **known)
    return master
