"""The messages of all rooms in a database, of any kind that SQLAlchemy knows."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from backend_stub.errors import HistoryError, StartError
from backend_stub.messages import Id, Message
from backend_stub.rows import MESSAGES, Row, engine_of, message_of, named, prepare, row_of, same, why

_BATCH_ROWS = 256
_LEAVE_S = 0.05
_FINAL = ("content", "finish_reason", "status", "lengths")


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of a room, oldest first; ``before`` is the cursor of the page of older ones, if any."""

    messages: Sequence[Message]
    before: str | None


@dataclass(frozen=True, slots=True)
class _Write:
    row: Row
    replaces: bool
    stored: asyncio.Future[None]


class History:
    """Stores messages, many at a time, and finds them. Raises `HistoryError` when the database fails.

    Raises `SettingError` when ``url`` is none that SQLAlchemy can use asynchronously.
    """

    def __init__(self, url: str) -> None:
        self._engine = engine_of(url)
        self._waiting: list[_Write] = []  # at most one for each answer
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, make the table ready, and begin to store; `StartError` if that fails.

        Answers that a killed process left on their way become errors: one process has the database.
        """
        try:
            async with self._engine.begin() as connection:
                await connection.run_sync(prepare)
        except (SQLAlchemyError, OSError) as exc:
            await self._engine.dispose()
            await asyncio.sleep(_LEAVE_S)  # some drivers have a thread that wants to tell that it ends
            raise StartError(f"unable to open the history; {why(exc)}") from exc
        self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Let go of the database; what is not stored by now is lost."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._engine.dispose()

    async def add(self, message: Message) -> None:
        """Store ``message`` unless its request has one of this role already; return once that is done."""
        await self._stored(message, replaces=False)

    async def put(self, message: Message) -> None:
        """Store ``message`` in the place of the one that its request has of this role, if any."""
        await self._stored(message, replaces=True)

    async def answer(self, room_id: Id, request_id: Id) -> Message | None:
        """Return the stored answer to a request."""
        key = {"room_id": named(room_id), "request_id": named(request_id), "role": "assistant"}
        return await self._one(same(key))

    async def question(self, room_id: Id, request_id: Id) -> Message | None:
        """Return the stored prompt of a request."""
        key = {"room_id": named(room_id), "request_id": named(request_id), "role": "user"}
        return await self._one(same(key))

    async def answer_named(self, room_path: str, message_id: Id) -> Message | None:
        """Return the answer of a room that has this name."""
        column = MESSAGES.c
        in_room = sa.and_(column.room_path == room_path, column.role == "assistant")
        return await self._one(sa.and_(column.message_id == named(message_id), in_room))

    async def page(self, room_path: str, *, limit: int, before: int | None = None) -> Page:
        """Return the newest ``limit`` messages of a room, of those before the cursor ``before``."""
        found = sa.select(MESSAGES).where(MESSAGES.c.room_path == room_path)
        if before is not None:
            found = found.where(MESSAGES.c.place < before)
        rows = await self._read(found.order_by(MESSAGES.c.place.desc()).limit(limit + 1))
        kept = rows[:limit][::-1]
        more = len(rows) > limit
        return Page([message_of(row) for row in kept], str(kept[0].place) if more else None)

    async def _one(self, condition: sa.ColumnElement[bool]) -> Message | None:
        rows = await self._read(sa.select(MESSAGES).where(condition).limit(1))
        return message_of(rows[0]) if rows else None

    async def _read(self, found: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        try:
            async with self._engine.connect() as connection:
                rows: Sequence[sa.Row[Any]] = (await connection.execute(found)).all()
                return rows
        except (SQLAlchemyError, OSError) as exc:
            raise HistoryError(f"unable to read the history; {why(exc)}") from exc

    async def _stored(self, message: Message, *, replaces: bool) -> None:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(row_of(message), replaces, stored))
        self._wake.set()
        await stored

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH_ROWS], self._waiting[_BATCH_ROWS:]
                await self._store(batch)

    async def _store(self, batch: Sequence[_Write]) -> None:
        failure: HistoryError | None = None
        try:
            await self._insert([write.row for write in batch if not write.replaces])
            await self._replace([write.row for write in batch if write.replaces])
        except (SQLAlchemyError, OSError) as exc:
            failure = HistoryError(f"unable to store a message; {why(exc)}")
        for write in batch:
            if not write.stored.done():
                _settle(write.stored, failure)

    async def _insert(self, rows: list[Row]) -> None:
        if not rows:
            return
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(MESSAGES), rows)
        except (
            IntegrityError
        ):  # one of them is stored already; "ignore it" is said otherwise by each database
            if len(rows) > 1:
                for row in rows:
                    await self._insert([row])

    async def _replace(self, rows: list[Row]) -> None:
        if not rows:
            return
        missing = []
        async with self._engine.begin() as connection:
            for row in rows:
                values = {name: row[name] for name in _FINAL}
                result = await connection.execute(sa.update(MESSAGES).where(same(row)).values(values))
                if result.rowcount == 0:
                    missing.append(row)
        await self._insert(missing)


def _settle(stored: asyncio.Future[None], failure: HistoryError | None) -> None:
    if failure is None:
        stored.set_result(None)
    else:
        stored.set_exception(failure)
