"""A TCP proxy that can make a network bad: cut, blackhole, latency, for all connections or for some.

What is held back is not lost: it arrives once the network is well again, as TCP would have it, however long
its sender has given up on it.
"""

import asyncio
import contextlib

READ_BYTES = 65536
READER_MARK = b"BLOCK"


class Connection:
    """One connection through the proxy; ``reads`` once it has asked to wait for what comes to an inbox."""

    def __init__(self, client, server):
        self.client, self.server = client, server
        self.reads = False

    def abort(self):
        for writer in (self.client, self.server):
            writer.transport.abort()


class FaultProxy:
    """Listens on ``port`` (0: a free one) in front of ``target``, a port of this machine."""

    def __init__(self, target):
        self.port, self._target = 0, target
        self.latency_s = 0.0
        self.refusing = False
        self._holds = None
        self._well = asyncio.Event()
        self._well.set()
        self.connections = set()
        self._tasks = set()
        self._server = None

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        self.heal()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, chosen=lambda _: True):
        """Reset the chosen connections; they may come back at once."""
        for connection in list(self.connections):
            if chosen(connection):
                connection.abort()

    def hold(self, chosen=lambda _: True):
        """Let nothing through on the chosen connections, now and later."""
        self._holds = chosen
        self._well.clear()

    def heal(self):
        """Be a good network again."""
        self._holds, self.refusing, self.latency_s = None, False, 0.0
        self._well.set()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            if self.refusing:
                writer.transport.abort()
                return
            with contextlib.suppress(OSError):
                await self._join(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(asyncio.current_task())

    async def _join(self, reader, writer):
        there, away = await asyncio.open_connection("127.0.0.1", self._target, limit=2**20)
        connection = Connection(writer, away)
        self.connections.add(connection)
        try:
            ways = self._pass(connection, reader, away), self._pass(connection, there, writer)
            tasks = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self.connections.discard(connection)
            away.transport.abort()

    async def _pass(self, connection, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                connection.reads = connection.reads or READER_MARK in data
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                while self._holds is not None and self._holds(connection):
                    await self._well.wait()
                writer.write(data)
                await writer.drain()
