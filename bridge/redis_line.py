"""Commands on a connection of their own: they leave at once, their answers are told as they come.

The library makes the connection, with all that its URL asks for. Behind its handshake the bytes are ours: its
own pipeline takes a task, two locks and six turns of the event loop for what is one write and one read here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from hiredis import PushNotification, Reader, pack_command
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError, ResponseError

Answered = Callable[[list[Any] | None], None]
"""Takes the answers of an exchange, errors among them as `ResponseError`; None when there are none."""


class _Exchange(NamedTuple):
    wanted: int
    answered: Answered
    until_s: float


class RedisLine(asyncio.Protocol):
    """A connection of ``pool`` that is kept; the answers of an exchange may take ``answer_s``.

    It is of no more use once it is ``lost``: the connection broke, or an answer was late or made no sense.
    """

    def __init__(self, connection: AbstractConnection, pool: ConnectionPool, *, answer_s: float) -> None:
        self.lost = False
        self._connection: AbstractConnection | None = connection
        self._pool = pool
        self._answer_s = answer_s
        self._reader = Reader(protocolError=RedisError, replyError=ResponseError)
        self._unsent: list[bytes] = []
        self._answers: list[Any] = []
        self._under_way: deque[_Exchange] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()  # to ask for it costs a system call
        writer = connection._writer  # noqa: SLF001  (there is no other way past the library's own reading)
        if writer is None:
            raise ConnectionError("the connection broke as it was made")
        self._transport = writer.transport
        self._transport.set_protocol(self)

    def __repr__(self) -> str:
        return f"<RedisLine {len(self._under_way)} under way{', lost' if self.lost else ''}>"

    def exchange(
        self, commands: Sequence[tuple[Any, ...]], answered: Answered, *, gather: bool = False
    ) -> None:
        """Send ``commands``, and tell ``answered`` what the server said to them, in order.

        The deadline is for the last of the answers. What is to ``gather`` leaves with all else that this turn
        of the event loop asks for: a write that wakes the server up costs as much as ten commands.
        """
        if self.lost or not commands:
            answered(None if self.lost else [])
            return
        packed = [pack_command(command) for command in commands]
        until_s = self._loop.time() + self._answer_s
        self._under_way.append(_Exchange(len(commands), answered, until_s))
        if self._timer is None:
            self._timer = self._loop.call_at(until_s, self._look)
        if gather and not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent += packed
        if not gather:
            self._send()

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and not self.lost:
            self._transport.write(b"".join(unsent))

    async def call(self, *command: Any) -> Any:
        """Return the answer to one command; raises as `calls`."""
        (answer,) = await self.calls(command)
        return answer

    async def calls(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Return the answers to ``commands``; who is cancelled leaves answers that nobody takes.

        Raises `ResponseError` where one is an error, ConnectionError where there is none.
        """
        told: asyncio.Future[list[Any] | None] = self._loop.create_future()
        self.exchange(commands, partial(_tell, told), gather=True)
        answers = await told
        if answers is None:
            raise ConnectionError("the connection broke, or the answer is late")
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def lose(self) -> None:
        """Be of no more use; who waits for answers is told that there are none."""
        self.lost = True
        self._transport.abort()
        while self._under_way:
            self._under_way.popleft().answered(None)

    async def close(self) -> None:
        """Close the connection; who waits for answers is told that there are none."""
        self.lose()
        if self._timer is not None:
            self._timer.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    def data_received(self, data: bytes) -> None:
        """Read answers; what the server pushes meanwhile is none."""
        reader = self._reader
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not False:
                if not isinstance(answer, PushNotification):
                    self._take(answer)
        except RedisError:
            self.lose()

    def _take(self, answer: Any) -> None:
        self._answers.append(answer)
        if not self._under_way or len(self._answers) >= self._under_way[0].wanted:
            answers, self._answers = self._answers, []
            if self._under_way:
                self._under_way.popleft().answered(answers)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell who waits that no answer comes."""
        self.lose()

    def _look(self) -> None:
        """Give up what is late; one timer serves many exchanges: one for each costs as much as a read."""
        loop, self._timer = self._loop, None
        if self._under_way and self._under_way[0].until_s <= loop.time():
            self.lose()
        elif self._under_way:
            self._timer = loop.call_at(self._under_way[0].until_s, self._look)


def _tell(told: "asyncio.Future[list[Any] | None]", answers: list[Any] | None) -> None:
    if not told.done():
        told.set_result(answers)
