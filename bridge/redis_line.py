"""Commands on a connection of their own: they leave at once, their answers are told as they come.

The library makes the connection, with all that its URL asks for. Behind its handshake the bytes are ours: its
own pipeline takes a task, two locks and six turns of the event loop for what is one write and one read here.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import PushNotification, Reader, pack_command
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError, ResponseError

Answered = Callable[[list[Any] | None], None]
"""Takes the answers of an exchange, errors among them as `ResponseError`; None when there are none."""


class RedisLine(asyncio.Protocol):
    """A connection of ``pool`` that is kept; one exchange at a time, whose answers may take ``answer_s``.

    It is of no more use once it is ``lost``: the connection broke, or an answer was late or made no sense.
    """

    def __init__(self, connection: AbstractConnection, pool: ConnectionPool, *, answer_s: float) -> None:
        self.lost = False
        self._connection: AbstractConnection | None = connection
        self._pool = pool
        self._answer_s = answer_s
        self._reader = Reader(protocolError=RedisError, replyError=ResponseError)
        self._answers: list[Any] = []
        self._wanted = 0
        self._answered: Answered | None = None
        self._until_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        writer = connection._writer  # noqa: SLF001  (there is no other way past the library's own reading)
        if writer is None:
            raise ConnectionError("the connection broke as it was made")
        self._transport = writer.transport
        self._transport.set_protocol(self)

    def __repr__(self) -> str:
        return f"<RedisLine {self._wanted} wanted{', lost' if self.lost else ''}>"

    def exchange(self, commands: Sequence[tuple[Any, ...]], answered: Answered) -> None:
        """Send ``commands``, and tell ``answered`` what the server said to them, in order.

        The deadline is for the last of the answers.
        """
        if self.lost:
            answered(None)
            return
        self._answers, self._wanted, self._answered = [], len(commands), answered
        loop = asyncio.get_running_loop()
        self._until_s = loop.time() + self._answer_s
        if self._timer is None:
            self._timer = loop.call_at(self._until_s, self._look)
        self._transport.write(b"".join(map(pack_command, commands)))

    def lose(self) -> None:
        """Be of no more use; who waits for answers is told that there are none."""
        self.lost = True
        self._transport.abort()
        self._end(None)

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
        reader, answers = self._reader, self._answers
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not False:
                if not isinstance(answer, PushNotification):
                    answers.append(answer)
        except RedisError:
            self.lose()
            return
        if self._wanted and len(answers) >= self._wanted:
            self._end(answers)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell who waits that no answer comes."""
        self.lose()

    def _look(self) -> None:
        """Give up what is late; one timer serves many exchanges: one for each costs as much as a read."""
        loop, self._timer = asyncio.get_running_loop(), None
        if self._wanted and self._until_s <= loop.time():
            self.lose()
        elif self._wanted:
            self._timer = loop.call_at(self._until_s, self._look)

    def _end(self, answers: list[Any] | None) -> None:
        answered, self._answered, self._wanted = self._answered, None, 0
        if answered is not None:
            answered(answers)
