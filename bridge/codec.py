"""Messages as JSON text, for a journal that outlives a process, and back."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import Any

from bridge.events import Id
from bridge.messages import (
    Answered,
    Message,
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
)

_KINDS: dict[str, type[Message]] = {
    "start": MessageStart,
    "chunk": MessageChunk,
    "reasoning": MessageReasoning,
    "end": MessageEnd,
    "status": MessageStatus,
    "tool": MessageTool,
    "whole": NewMessage,
}
_read = json.JSONDecoder().raw_decode  # `decode` looks for white space on both sides besides
TURNS_REMEMBERED = 1024
_NAMES = {kind: name for name, kind in _KINDS.items()}
_CHUNK = _NAMES[MessageChunk]
_FIELDS = {kind: attrgetter(*(each.name for each in fields(kind))) for kind in _NAMES if is_dataclass(kind)}
_as_json = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make an encoder each time


def encode(messages: Sequence[Message]) -> str:
    """Return ``messages`` as a JSON array; each is its kind and its fields in their order."""
    if len(messages) == 1 and isinstance(messages[0], MessageChunk):
        return _chunk(messages[0])
    return _as_json([[_NAMES[type(each)], *_values(each)] for each in messages])


def decode(text: str | bytes) -> list[Message]:
    """Return the messages that `encode` wrote. Raises ValueError where ``text`` is none of its."""
    text = text if isinstance(text, str) else text.decode()
    try:
        said, end = _read(text)
        if end != len(text):
            raise ValueError("unable to read kept messages; something stands behind them")
        if len(said) == 1 and said[0][0] == _CHUNK:
            return [MessageChunk._make(said[0][1:])]  # nearly every batch
        return [_message(*each) for each in said]
    except (TypeError, LookupError, RecursionError) as exc:
        raise ValueError("unable to read kept messages; they are of another make") from exc


def _chunk(chunk: MessageChunk) -> str:
    """Return what nearly every batch is: an encoder would take twice as long."""
    request_id, room_id, message_id, seq, delta, from_seq = chunk
    more = "null" if from_seq is None else from_seq
    return f"{_head(request_id, room_id, message_id)}{seq},{encode_basestring_ascii(delta)},{more}]]"


@lru_cache(TURNS_REMEMBERED)
def _head(*names: Id) -> str:
    """Return what every chunk of a turn begins with."""
    return f'[["chunk",{",".join(map(_name, names))},'


def _name(given: Id) -> str:
    return encode_basestring_ascii(given) if isinstance(given, str) else str(given)


def _values(message: Message) -> Iterable[Any]:
    return message if isinstance(message, MessageChunk) else _FIELDS[type(message)](message)


def _message(name: str, *values: Any) -> Message:
    kind = _KINDS[name]
    if kind is MessageEnd:
        *plain, error, conversation_id, created_at, answered = values
        values = (
            *plain,
            error and tuple(error),
            conversation_id,
            created_at,
            answered and Answered(*answered),
        )
    return kind(*values)
