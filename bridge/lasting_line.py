"""A connection for commands that lasts: it is made when it is first wanted, and anew where it was lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from bridge.redis_line import RedisLine

Making = asyncio.Future[RedisLine]


class LastingLine:
    """What ``make`` makes; ``begin`` has that done, although nobody may wait for it any more."""

    def __init__(
        self, make: Callable[[], Awaitable[RedisLine]], begin: Callable[[Awaitable[RedisLine]], Making]
    ) -> None:
        self._make = make
        self._begin = begin
        self._making: Making | None = None

    async def line(self) -> RedisLine:
        """Return it; many may want it at one moment: it is made once. Raises what ``make`` does."""
        if self._making is None or (self._making.done() and _is_bad(self._making)):
            self._making = self._begin(self._made_anew(self._making))
        return await asyncio.shield(self._making)

    async def call(self, *command: Any) -> Any:
        """Return the answer to one command; raises what ``make`` does, and `RedisLine.call`."""
        return await (await self.line()).call(*command)

    async def calls(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Return the answers to ``commands``, which leave together; raises as `call`."""
        return await (await self.line()).calls(*commands)

    async def close(self) -> None:
        """Close it, unless it is still being made."""
        await _end(self._making)

    async def _made_anew(self, before: Making | None) -> RedisLine:
        await _end(before)
        return await self._make()


def _is_bad(made: Making) -> bool:
    return made.cancelled() or made.exception() is not None or made.result().lost


async def _end(made: Making | None) -> None:
    if made is not None and made.done() and not made.cancelled() and made.exception() is None:
        await made.result().close()
