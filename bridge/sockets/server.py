"""python-socketio's server, kept to the protocol: who does not speak it is not served.

A connection that makes no CONNECT in time is closed, so is one that sends what is no packet, or speaks before
it has connected; an unknown namespace is refused by name.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import socketio

from bridge.ports import Telemetry
from bridge.sockets.line import line_of
from bridge.sockets.packets import InvalidPacket, Packet

CONNECTS_LIMIT = 5
"""So many CONNECTs, with whatever tokens, may come over one connection."""
NAMESPACE = "/"
ADMIN_NAMESPACE = "/admin"
GOODBYE_S = 1.0
"""So long a client may take to close its connection itself."""
LOOKS_PER_TIMEOUT = 4
"""Who is gone is known a quarter of the ping timeout late at most."""
LOOKED_AT_ONCE = 256
"""So many clients are looked at before others have their turn."""


class Server(socketio.AsyncServer):  # type: ignore[misc]  # python-socketio has no types
    """``arrived`` and ``departed`` are told of each connection, with its environment, as long as it lasts.

    ``telemetry`` is told by which code a connection is ended that does not keep to the protocol.
    """

    def __init__(
        self,
        *,
        handshake_s: float,
        arrived: Callable[[dict[str, Any]], None],
        departed: Callable[[dict[str, Any]], None],
        telemetry: Telemetry,
        **options: Any,
    ) -> None:
        super().__init__(serializer=Packet, monitor_clients=False, **options)
        self._handshake_s = handshake_s
        self._arrived = arrived
        self._departed = departed
        self._telemetry = telemetry
        self._watching: asyncio.Task[None] | None = None
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
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for deadline in self._deadlines.values():
            deadline.cancel()
        if self._closing:
            await asyncio.wait(self._closing, timeout=1.0)

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self._arrived(environ)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="pings")
        loop = asyncio.get_running_loop()
        self._deadlines[eio_sid] = loop.call_later(self._handshake_s, self._no_handshake, eio_sid)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        environ = self.environ.get(eio_sid)
        await super()._handle_eio_disconnect(eio_sid, reason)
        self._binary_packet.pop(eio_sid, None)
        self._connects.pop(eio_sid, None)
        self._no_longer_due(eio_sid)
        if environ is not None:
            self._departed(environ)
        line = line_of(self.eio.sockets.get(eio_sid))
        if line is not None:  # who is sent away, or did not answer a ping, may keep its connection open
            asyncio.get_running_loop().call_later(GOODBYE_S, line.cut)

    async def _watch(self) -> None:
        """End the connections of clients that do not answer a ping in time.

        All are looked at now and then. The library's own watch wakes the process up for each client: 50 times
        a second for 1 000 of them.
        """
        while True:
            await asyncio.sleep(self.eio.ping_timeout / LOOKS_PER_TIMEOUT)
            for number, socket in enumerate([*self.eio.sockets.values()], start=1):
                if socket.closed:
                    self.eio.sockets.pop(socket.sid, None)
                elif not socket.closing:
                    await self._check_ping(socket)
                if not number % LOOKED_AT_ONCE:
                    await asyncio.sleep(0)

    async def _check_ping(self, socket: Any) -> None:
        try:
            await socket.check_ping_timeout()
        except Exception as fault:  # noqa: BLE001  (one bad connection must not end the watch)
            self._telemetry.fault(fault)

    def _no_longer_due(self, eio_sid: str) -> None:
        """Let the handshake have no deadline any more: each would wake the process up once more."""
        if (deadline := self._deadlines.pop(eio_sid, None)) is not None:
            deadline.cancel()

    def _no_handshake(self, eio_sid: str) -> None:
        self._telemetry.refused("connection", "connect_timeout")
        task = asyncio.create_task(self.cut_off(eio_sid), name="no handshake")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            await super()._handle_eio_message(eio_sid, data)
        except InvalidPacket:
            self._telemetry.refused("connection", "bad_packet")
            await self.cut_off(eio_sid)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        self._connects[eio_sid] += 1
        wanted = namespace or NAMESPACE
        if self._connects[eio_sid] > CONNECTS_LIMIT or self.manager.sid_from_eio_sid(eio_sid, wanted):
            raise InvalidPacket
        if wanted in self._namespaces:
            await super()._handle_connect(eio_sid, namespace, data)
            if self._is_connected(eio_sid, wanted):
                self._no_longer_due(eio_sid)
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
