"""python-socketio's server, kept to the protocol: who does not speak it is not served.

A connection that makes no CONNECT in time is closed, so is one that sends what is no packet, or speaks before
it has connected; an unknown namespace is refused by name.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import socketio

from bridge.sockets.line import line_of
from bridge.sockets.packets import InvalidPacket, Packet

CONNECTS_LIMIT = 5
"""So many CONNECTs, with whatever tokens, may come over one connection."""
NAMESPACE = "/"
ADMIN_NAMESPACE = "/admin"
GOODBYE_S = 1.0
"""So long a client may take to close its connection itself."""


class Server(socketio.AsyncServer):  # type: ignore[misc]  # python-socketio has no types
    """``arrived`` and ``departed`` are told of each connection, with its environment, as long as it lasts.

    ``refused`` is told by which code a connection is ended that does not keep to the protocol.
    """

    def __init__(
        self,
        *,
        handshake_s: float,
        arrived: Callable[[dict[str, Any]], None],
        departed: Callable[[dict[str, Any]], None],
        refused: Callable[[str], None],
        **options: Any,
    ) -> None:
        super().__init__(serializer=Packet, **options)
        self._handshake_s = handshake_s
        self._arrived = arrived
        self._departed = departed
        self._refused = refused
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        self._connects: Counter[str] = Counter()
        self._closing: set[asyncio.Task[None]] = set()
        self._namespaces = {NAMESPACE}

    def admit(self, namespace: str) -> None:
        """Let clients connect to one more namespace; they may listen there, and say nothing."""
        self._namespaces.add(namespace)

    def opened_by(self, eio_sid: str) -> Any:
        """Return the request that opened a connection, None for an unknown one."""
        return self.environ.get(eio_sid, {}).get("aiohttp.request")

    async def cut_off(self, eio_sid: str) -> None:
        """End a connection at once, whether its client reads or not."""
        socket = self.eio.sockets.get(eio_sid)
        if socket is None:
            return
        await socket.close(wait=False, abort=True)
        socket.queue.put_nowait(None)  # who polls is answered, a writer of python-engineio ends
        line = line_of(socket)
        if line is not None:
            line.cut()
        self.eio.sockets.pop(eio_sid, None)

    async def close(self) -> None:
        """Wait until every connection that is being cut off is gone."""
        for deadline in self._deadlines.values():
            deadline.cancel()
        if self._closing:
            await asyncio.wait(self._closing, timeout=1.0)

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self._arrived(environ)
        loop = asyncio.get_running_loop()
        self._deadlines[eio_sid] = loop.call_later(self._handshake_s, self._check_handshake, eio_sid)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        environ = self.environ.get(eio_sid)
        await super()._handle_eio_disconnect(eio_sid, reason)
        self._binary_packet.pop(eio_sid, None)
        self._connects.pop(eio_sid, None)
        if (deadline := self._deadlines.pop(eio_sid, None)) is not None:
            deadline.cancel()
        if environ is not None:
            self._departed(environ)
        line = line_of(self.eio.sockets.get(eio_sid))
        if line is not None:  # who is sent away, or did not answer a ping, may keep its connection open
            asyncio.get_running_loop().call_later(GOODBYE_S, line.cut)

    def _check_handshake(self, eio_sid: str) -> None:
        if not any(self._is_connected(eio_sid, namespace) for namespace in self._namespaces):
            self._refused("connect_timeout")
            task = asyncio.create_task(self.cut_off(eio_sid), name="no handshake")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            await super()._handle_eio_message(eio_sid, data)
        except InvalidPacket:
            self._refused("bad_packet")
            await self.cut_off(eio_sid)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        self._connects[eio_sid] += 1
        wanted = namespace or NAMESPACE
        if self._connects[eio_sid] > CONNECTS_LIMIT or self.manager.sid_from_eio_sid(eio_sid, wanted):
            raise InvalidPacket
        if wanted in self._namespaces:
            await super()._handle_connect(eio_sid, namespace, data)
            return
        refusal = Packet(4, data={"message": "Invalid namespace"}, namespace=namespace)
        await self._send_packet(eio_sid, refusal)

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:  # noqa: A002
        if (namespace or NAMESPACE) != NAMESPACE or not self._is_connected(eio_sid):
            raise InvalidPacket
        await super()._handle_event(eio_sid, namespace, id, data)

    def _is_connected(self, eio_sid: str, namespace: str = NAMESPACE) -> bool:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        return sid is not None and bool(self.manager.is_connected(sid, namespace))
