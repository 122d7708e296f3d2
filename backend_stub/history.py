"""The messages of all rooms in a database. The only module that knows SQLAlchemy."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from backend_stub.errors import HistoryError, SettingError, StartError
from backend_stub.messages import Message

_BATCH_ROWS = 256
_ID = sa.String(255)
_METADATA = sa.MetaData()
_MESSAGES = sa.Table(
    "messages",
    _METADATA,
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=True),
    # names are JSON, which keeps 42 and "42" apart; the path of a room does not
    sa.Column("room_id", _ID, nullable=False),
    sa.Column("room_path", _ID, nullable=False, index=True),
    sa.Column("request_id", _ID, nullable=False),
    sa.Column("message_id", _ID, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("finish_reason", sa.String(16)),
    sa.UniqueConstraint("room_id", "request_id", "role"),
)
_Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of a room, oldest first; ``before`` is the cursor of the page of older ones, if any."""

    messages: Sequence[Message]
    before: str | None


class History:
    """Stores messages, many at a time, and finds them. Raises `HistoryError` when the database fails.

    Raises `SettingError` when ``url`` is none that SQLAlchemy can use asynchronously.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._waiting: list[tuple[_Row, asyncio.Future[None]]] = []  # as many as there are answers
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, make the table if it is missing, and begin to store; `StartError` if that fails."""
        try:
            async with self._engine.begin() as connection:
                await connection.run_sync(_METADATA.create_all)
        except (SQLAlchemyError, OSError) as exc:
            await self._engine.dispose()
            raise StartError(f"unable to open the history; {_why(exc)}") from exc
        self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Let go of the database; what is not stored by now is lost."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._engine.dispose()

    async def add(self, message: Message) -> None:
        """Store ``message`` unless its request has one of this role already; return once that is done."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((_row(message), stored))
        self._wake.set()
        await stored

    async def answer(self, room_id: Any, request_id: Any) -> Message | None:
        """Return the stored answer to a request."""
        found = sa.select(_MESSAGES).where(
            _MESSAGES.c.room_id == _json(room_id),
            _MESSAGES.c.request_id == _json(request_id),
            _MESSAGES.c.role == "assistant",
        )
        rows = await self._read(found)
        return _message(rows[0]) if rows else None

    async def page(self, room_path: str, *, limit: int, before: int | None = None) -> Page:
        """Return the newest ``limit`` messages of a room, of those before the cursor ``before``."""
        found = sa.select(_MESSAGES).where(_MESSAGES.c.room_path == room_path)
        if before is not None:
            found = found.where(_MESSAGES.c.place < before)
        rows = await self._read(found.order_by(_MESSAGES.c.place.desc()).limit(limit + 1))
        kept = rows[:limit][::-1]
        more = len(rows) > limit
        return Page([_message(row) for row in kept], str(kept[0].place) if more else None)

    async def _read(self, found: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        try:
            async with self._engine.connect() as connection:
                rows: Sequence[sa.Row[Any]] = (await connection.execute(found)).all()
                return rows
        except (SQLAlchemyError, OSError) as exc:
            raise HistoryError(f"unable to read the history; {_why(exc)}") from exc

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH_ROWS], self._waiting[_BATCH_ROWS:]
                await self._store(batch)

    async def _store(self, batch: Sequence[tuple[_Row, asyncio.Future[None]]]) -> None:
        failure: HistoryError | None = None
        try:
            await self._insert([row for row, _ in batch])
        except (SQLAlchemyError, OSError) as exc:
            failure = HistoryError(f"unable to store a message; {_why(exc)}")
        for _, stored in batch:
            if not stored.done():
                _settle(stored, failure)

    async def _insert(self, rows: list[_Row]) -> None:
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(_MESSAGES), rows)
        except (
            IntegrityError
        ):  # one of them is stored already; "ignore it" is said otherwise by each database
            if len(rows) > 1:
                for row in rows:
                    await self._insert([row])


def _settle(stored: asyncio.Future[None], failure: HistoryError | None) -> None:
    if failure is None:
        stored.set_result(None)
    else:
        stored.set_exception(failure)


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = sa.make_url(url)
        engine = create_async_engine(parsed, **_options(parsed))
    except (SQLAlchemyError, ImportError) as exc:
        raise SettingError(f"unable to use BACKEND_STUB_DATABASE_URL; {_why(exc)}") from exc
    if parsed.get_backend_name() == "sqlite":
        sa.event.listen(engine.sync_engine, "connect", _tune)
    return engine


def _tune(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # reading never waits for storing
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _options(url: sa.URL) -> dict[str, Any]:
    memory = url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
    if not memory:
        return {}
    # such a database lives as long as its one connection, and two tasks must not share a transaction
    return {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0}


def _json(name: Any) -> str:
    return json.dumps(name, ensure_ascii=False)


def _row(message: Message) -> _Row:
    return {
        "room_id": _json(message.room_id),
        "room_path": str(message.room_id),
        "request_id": _json(message.request_id),
        "message_id": _json(message.message_id),
        "role": message.role,
        "content": message.content,
        "created_at": message.created_at,
        "finish_reason": message.finish_reason,
    }


def _message(row: sa.Row[Any]) -> Message:
    return Message(
        message_id=json.loads(row.message_id),
        request_id=json.loads(row.request_id),
        room_id=json.loads(row.room_id),
        role=row.role,
        content=row.content,
        created_at=row.created_at,
        finish_reason=row.finish_reason,
    )


def _why(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
