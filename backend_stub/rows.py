"""The table of messages, its rows, and the connection to it."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.schema import CreateColumn

from backend_stub.errors import SettingError
from backend_stub.messages import Message

_ID = sa.String(255)
_METADATA = sa.MetaData()
MESSAGES = sa.Table(
    "messages",
    _METADATA,
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=True),
    # names are JSON, which keeps 42 and "42" apart; the path of a room does not
    sa.Column("room_id", _ID, nullable=False),
    sa.Column("room_path", _ID, nullable=False, index=True),
    sa.Column("request_id", _ID, nullable=False),
    sa.Column("message_id", _ID, nullable=False, index=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("finish_reason", sa.String(16)),
    sa.Column("status", sa.String(16), nullable=False, server_default="success"),
    sa.Column("lengths", sa.Text),
    sa.UniqueConstraint("room_id", "request_id", "role"),
)
"""One row for each message, in the order of ``place``."""

Row = dict[str, Any]
_C = MESSAGES.c
_UNFINISHED = ("pending", "streaming")
_FAILED = ("error", "cancelled")


def engine_of(url: str) -> AsyncEngine:
    """Return the engine of ``url``; raise `SettingError` when SQLAlchemy has none."""
    try:
        parsed = sa.make_url(url)
        engine = create_async_engine(parsed, **_options(parsed))
    except (SQLAlchemyError, ImportError) as exc:
        raise SettingError(f"unable to use BACKEND_STUB_DATABASE_URL; {why(exc)}") from exc
    if parsed.get_backend_name() == "sqlite":
        sa.event.listen(engine.sync_engine, "connect", _tune)
    return engine


def prepare(connection: sa.Connection) -> None:
    """Make the table, or the columns that an older one lacks, and end what a killed process left open."""
    _METADATA.create_all(connection)
    if _C.status.name in _add_missing_columns(connection):
        failed = _C.finish_reason.in_(_FAILED)
        connection.execute(sa.update(MESSAGES).where(failed).values(status="error"))
    left_open = sa.update(MESSAGES).where(_C.status.in_(_UNFINISHED))
    connection.execute(left_open.values(status="error", finish_reason="interrupted"))


def same(row: Mapping[str, Any]) -> sa.ColumnElement[bool]:
    """Return what finds the message of the request and role that ``row`` has."""
    return sa.and_(*(_C[name] == row[name] for name in ("room_id", "request_id", "role")))


def named(name: Any) -> str:
    """Return a name as it is stored, with its JSON type."""
    return json.dumps(name, ensure_ascii=False)


def row_of(message: Message) -> Row:
    """Return the row of ``message``."""
    return {
        "room_id": named(message.room_id),
        "room_path": str(message.room_id),
        "request_id": named(message.request_id),
        "message_id": named(message.message_id),
        "role": message.role,
        "content": message.content,
        "created_at": message.created_at,
        "finish_reason": message.finish_reason,
        "status": message.status,
        "lengths": None if message.lengths is None else json.dumps(message.lengths),
    }


def message_of(row: sa.Row[Any]) -> Message:
    """Return the message of ``row``."""
    return Message(
        message_id=json.loads(row.message_id),
        request_id=json.loads(row.request_id),
        room_id=json.loads(row.room_id),
        role=row.role,
        content=row.content,
        created_at=row.created_at,
        finish_reason=row.finish_reason,
        status=row.status,
        lengths=None if row.lengths is None else tuple(json.loads(row.lengths)),
    )


def why(error: BaseException) -> str:
    """Return the reason in ``error``, on one line."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def _add_missing_columns(connection: sa.Connection) -> set[str]:
    present = {column["name"] for column in sa.inspect(connection).get_columns(MESSAGES.name)}
    missing = [column for column in MESSAGES.columns if column.name not in present]
    for column in missing:
        said = CreateColumn(column).compile(dialect=connection.dialect)
        connection.execute(sa.text(f"ALTER TABLE {MESSAGES.name} ADD COLUMN {said}"))
    return {column.name for column in missing}


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
