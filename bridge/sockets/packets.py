"""What may come in as an Engine.IO or a Socket.IO packet: checked here, before the libraries act on it.

What is no packet ends the connection, as the protocols say; nothing of it is logged.
"""

import binascii
import re
from typing import Any

from engineio import exceptions
from socketio import packet

PACKETS_PER_BODY = 16
ATTACHMENTS = 16
_PACKET = re.compile(r"4[0-6].*|[12356]|[23]probe", re.DOTALL)
"""A message of Socket.IO, or one of Engine.IO's own; a client has no other."""
_SEPARATOR = "\x1e"
_RESERVED = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


class InvalidPacket(exceptions.EngineIOError):  # type: ignore[misc]  # python-engineio has no types
    """It is no packet, or none that may come now; the connection ends."""


def check_body(body: bytes) -> None:
    """Raise `InvalidPacket` unless ``body``, of a polling POST, holds packets."""
    try:
        packets = body.decode().split(_SEPARATOR)
        if len(packets) > PACKETS_PER_BODY:
            raise InvalidPacket
        for each in packets:
            if each[:1] == "b":
                binascii.a2b_base64(each[1:], strict_mode=True)
            elif not _PACKET.fullmatch(each):
                raise InvalidPacket
    except ValueError as exc:
        raise InvalidPacket from exc


def is_frame(data: object) -> bool:
    """Return whether ``data``, of a websocket, is a packet."""
    return isinstance(data, bytes) or (isinstance(data, str) and _PACKET.fullmatch(data) is not None)


class Packet(packet.Packet):  # type: ignore[misc]  # python-socketio has no types
    """python-socketio's packet, which raises `InvalidPacket` where the protocol was not kept.

    Attachments are counted and not kept: no event of ours holds binary data.
    """

    def decode(self, encoded_packet: Any) -> int:
        """Read one packet; return how many attachments belong to it."""
        if not isinstance(encoded_packet, str):
            raise InvalidPacket
        try:
            attachments = int(super().decode(encoded_packet))
        except (ValueError, TypeError, LookupError, RecursionError) as exc:
            raise InvalidPacket from exc
        if attachments > ATTACHMENTS or not self._is_whole(attachments):
            raise InvalidPacket
        return attachments

    def add_attachment(self, attachment: Any) -> bool:
        """Count one attachment; return whether it was the last."""
        if not isinstance(attachment, bytes):
            raise InvalidPacket
        try:
            return bool(super().add_attachment(b""))
        except (ValueError, TypeError, LookupError, RecursionError) as exc:
            raise InvalidPacket from exc

    def _is_whole(self, attachments: int) -> bool:
        match self.packet_type:
            case packet.CONNECT:
                return self.data is None or isinstance(self.data, dict)
            case packet.DISCONNECT:
                return self.data is None
            case packet.EVENT | packet.BINARY_EVENT:
                is_binary = self.packet_type == packet.BINARY_EVENT
                return _is_event(self.data) and is_binary == (attachments > 0)
            case packet.ACK | packet.BINARY_ACK:
                return isinstance(self.data, list) and self.id is not None
            case _:
                return False


def _is_event(data: object) -> bool:
    if not isinstance(data, list) or not data:
        return False
    name = data[0]
    return isinstance(name, int) or (isinstance(name, str) and name not in _RESERVED)
