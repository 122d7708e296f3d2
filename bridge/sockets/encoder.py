"""Messages as Socket.IO packets and websocket frames: each is made once, however many devices hear it."""

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from engineio import packet

from bridge.messages import Message, MessageChunk, event_name, payload
from bridge.sockets.line import frame

CHUNK = event_name(MessageChunk("", "", "", 0, ""))
TURNS_REMEMBERED = 1024
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # dumps would make one each time


class Encoder:
    """Makes the packet of a message once, however many devices hear it in a row.

    ``names`` renames events, for clients that know another word.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._heads: dict[tuple[Any, ...], str] = {}
        self._framed: Message | None = None
        self._frame = b""
        self._packed: Message | None = None
        self._packet: Any = None

    def frame(self, message: Message) -> bytes:
        """Return the websocket frame of ``message``, the same object for every device."""
        if message is not self._framed:
            self._frame, self._framed = frame(f"4{self._text(message)}"), message
        return self._frame

    def packet(self, message: Message) -> Any:
        """Return the Engine.IO packet of ``message``, the same object for every device."""
        if message is not self._packed:
            self._packet = packet.Packet(packet.MESSAGE, data=self._text(message))
            self._packed = message
        return self._packet

    def asking(self, message: Message, number: int) -> Any:
        """Return the Engine.IO packet of ``message`` that asks for the ack ``number``: one device's own."""
        return packet.Packet(packet.MESSAGE, data=f"2{number}{self._text(message)[1:]}")

    def _text(self, message: Message) -> str:
        """Return the Socket.IO packet of ``message``; what every chunk of a turn begins with is kept."""
        if not isinstance(message, MessageChunk) or message.from_seq is not None:
            name = event_name(message)
            return "2" + _json([self._names.get(name, name), payload(message)])
        request_id, room_id, message_id, seq, delta, _ = message
        names = request_id, room_id, message_id
        head = self._heads.get(names) or self._head(names)
        return f'{head},"seq":{seq},"delta":{encode_basestring(delta)}}}]'

    def _head(self, names: tuple[Any, ...]) -> str:
        if len(self._heads) >= TURNS_REMEMBERED:
            self._heads.clear()
        ids = dict(zip(("requestId", "roomId", "messageId"), names, strict=True))
        head = "2" + _json([CHUNK, ids])[:-2]
        return self._heads.setdefault(names, head)
