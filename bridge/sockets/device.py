"""One connected Socket.IO client as a `Device`."""

from collections.abc import Callable, Sequence
from typing import Any

from bridge.broadcast import Way
from bridge.messages import Message
from bridge.sockets.burst import LAG_BYTES, burst_for
from bridge.sockets.encoder import Encoder
from bridge.sockets.line import frame, line_of

LAGS_UNTIL, CUT_OFF_AT = 0.25, 8.0
"""A device lags no more below the first, and is cut off beyond the second; in parts of what makes it lag."""


class SocketDevice:
    """The client ``sid`` behind python-engineio's ``socket``.

    It lags once too much waits for it: `LAG_BYTES` at its websocket, or ``backlog`` packets where it polls.
    ``lagged`` is told so each time that begins, to look when it is over. One for which still more waits is
    given to ``overflowed`` once and hears nothing more: it is to be cut off, comes back, and resumes.
    """

    def __init__(
        self,
        socket: Any,
        encoder: Encoder,
        *,
        sid: str,
        user: str,
        streaming: bool | None,
        backlog: int,
        lagged: Callable[["SocketDevice"], None],
        overflowed: Callable[["SocketDevice"], None],
    ) -> None:
        self.sid = sid
        self.user = user
        self.streaming = streaming
        self.socket = socket
        self._encoder = encoder
        self._backlog = backlog
        self._lagged = lagged
        self._overflowed = overflowed
        self._lags = self._deaf = False

    def __repr__(self) -> str:
        return f"<SocketDevice {self.socket.sid} streaming={self.streaming} load={self._load():.2f}>"

    @property
    def lagging(self) -> bool:
        """See `Device.lagging`."""
        load = self._load()
        if self._lags:
            self._lags = load >= LAGS_UNTIL
        elif load >= 1:
            self._lags = True
            self._lagged(self)
        return self._lags

    @property
    def way(self) -> Way | None:
        """See `Device.way`; there is none while it polls, lags, or is to be cut off."""
        line = line_of(self.socket)
        if line is None or self._lags or self._deaf:
            return None
        kind: Any = type(line.transport)
        return Way(line, self._encoder.frame, burst_for(kind))

    @property
    def busy(self) -> bool:
        """True while something waits for it."""
        return self._load() > 0

    def hear(self, message: Message) -> None:
        """Take ``message``; see `Device.hear`."""
        if self._deaf:
            return
        line = line_of(self.socket)
        if line is not None:
            line.write(self._encoder.frame(message))
        else:
            self.socket.queue.put_nowait(self._encoder.packet(message))
        if self._lags:
            self._bound()

    def take(self, packets: Sequence[Any]) -> None:
        """Take Engine.IO packets, all or none."""
        if self._deaf:
            return
        line = line_of(self.socket)
        for each in packets:
            if line is not None:
                line.write(frame(each.encode()))
            else:
                self.socket.queue.put_nowait(each)
        self._bound()

    def _bound(self) -> None:
        if self._load() > CUT_OFF_AT:
            self._deaf = True
            self._overflowed(self)

    def _load(self) -> float:
        line = line_of(self.socket)
        if line is not None:
            return line.waiting_bytes() / LAG_BYTES
        return float(self.socket.queue.qsize()) / self._backlog
