"""Orders on their way from this node to others through Redis: each arrives once, and in order.

They are sent again until that is answered; the script knows by their numbers which it has put already.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from bridge.errors import StoreUnavailable
from bridge.redis_client import ANSWER_S, BACK_OFF_S, RedisClient, is_final

WAITING_LIMIT_BYTES = 16 * 1024 * 1024
AT_ONCE = 64

Waiting = tuple[int, str, str, int, *tuple[Any, ...]]
"""An order: its number, to whom, its text; how many values its copies have, and these."""


class Outbox:
    """What waits to be sent; ``arguments`` of the script stand before the orders."""

    def __init__(self, client: RedisClient, arguments: Sequence[Any]) -> None:
        self.refused = 0
        """How many orders Redis would not take, and never will."""
        self._redis = client
        self._arguments = arguments
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._number = 0
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._sender: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Outbox {len(self._waiting)} orders, {self._waiting_bytes} bytes>"

    def put(self, order: str, to: str, copies: Sequence[Any] = ()) -> None:
        """Let ``order`` wait for its turn, and its ``copies``, as the script takes them.

        Raises `StoreUnavailable` when too much waits already.
        """
        waiting = (self._number + 1, to, order, len(copies), *copies)
        if self._waiting_bytes + _size_bytes(waiting) > WAITING_LIMIT_BYTES:
            raise StoreUnavailable("unable to tell other nodes; too much waits already")
        self._number += 1
        self._waiting.append(waiting)
        self._waiting_bytes += _size_bytes(waiting)
        self._idle.clear()
        self._wake.set()

    def start(self) -> None:
        """Begin to send."""
        self._sender = asyncio.create_task(self._send_all(), name="orders")

    async def close(self) -> None:
        """Send what waits, for a short time."""
        if self._sender is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await self._idle.wait()
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)

    async def _send_all(self) -> None:
        pause_s = BACK_OFF_S[0]
        while True:
            await self._wake.wait()
            sending = list(islice(self._waiting, AT_ONCE))
            if await self._send(sending):
                pause_s = BACK_OFF_S[0]
                self._forget(sending)
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])

    async def _send(self, sending: Sequence[Waiting]) -> bool:
        """Return whether it is decided what becomes of them."""
        try:
            await self._redis.run("order", *self._arguments, *chain.from_iterable(sending))
        except StoreUnavailable as error:
            if error.__cause__ is None or not is_final(error.__cause__):
                return False
            self.refused += len(sending)
        return True

    def _forget(self, sent: Sequence[Waiting]) -> None:
        for order in sent:
            self._waiting.popleft()
            self._waiting_bytes -= _size_bytes(order)
        if not self._waiting:
            self._wake.clear()
            self._idle.set()


def _size_bytes(waiting: Waiting) -> int:
    return sum(len(each) for each in waiting[2:] if isinstance(each, str | bytes))
