"""One connected Socket.IO client as a `Device`: messages go into its Engine.IO queue, encoded once each."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from engineio import packet

from bridge.messages import Message, event_name, payload


class Encoder:
    """Makes the packet of a message once, however many devices hear it in a row.

    ``names`` renames events, for clients that know another word.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._message: Message | None = None
        self._packet: Any = None

    def packet(self, message: Message) -> Any:
        """Return the Engine.IO packet of ``message``, the same object for every device."""
        if message is not self._message:
            name = event_name(message)
            event = [self._names.get(name, name), payload(message)]
            text = "2" + json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            self._packet = packet.Packet(packet.MESSAGE, data=text)
            self._message = message
        return self._packet


class SocketDevice:
    """A client behind python-engineio's ``socket``; at most ``backlog`` packets wait for it.

    One that lets more wait is given to ``overflowed`` once and hears nothing more: it is to be cut off,
    comes back, resumes, and has cost nobody else anything.
    """

    user = ""

    def __init__(
        self,
        socket: Any,
        encoder: Encoder,
        *,
        streaming: bool | None,
        backlog: int,
        overflowed: Callable[["SocketDevice"], None],
    ) -> None:
        self.streaming = streaming
        self.socket = socket
        self._encoder = encoder
        self._backlog = backlog
        self._overflowed = overflowed
        self._deaf = False

    def __repr__(self) -> str:
        waiting = self.socket.queue.qsize()
        return f"<SocketDevice {self.socket.sid} streaming={self.streaming} waiting={waiting}>"

    def hear(self, message: Message) -> None:
        """Take ``message``; see `Device.hear`."""
        if self._deaf:
            return
        if self.socket.queue.qsize() >= self._backlog:
            self._deaf = True
            self._overflowed(self)
            return
        self.socket.queue.put_nowait(self._encoder.packet(message))
