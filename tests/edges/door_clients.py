"""Clients of the doors beside Socket.IO, with aiohttp, as strict as the first law."""

import asyncio
import contextlib
import json
import socket

import aiohttp
from loopback import Listener


def narrow_connector():
    """Return connections whose system holds little for one that does not read."""

    def narrow(address):
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return made

    return aiohttp.TCPConnector(socket_factory=narrow)


class WebSocketClient(Listener):
    """Frames ``{event, data, ack?}``; ``auth`` is the data of the first frame."""

    def __init__(self, address, auth=None, *, connector=None, **connect):
        super().__init__()
        self.connector = connector
        self.url, self.auth, self.connect = f"{address}/api/v1/chat/ws", auth, connect
        self.acks = {}

    async def __aenter__(self):
        self.session = aiohttp.ClientSession(connector=self.connector)
        try:
            self.ws = await self.session.ws_connect(self.url, max_msg_size=0, **self.connect)
        except aiohttp.ClientError:
            await self.session.close()
            raise
        self.reader = asyncio.create_task(self._read())
        if self.auth is not None:
            assert (await self.call("auth", self.auth))["ok"]
        return self

    async def __aexit__(self, *_):
        await self.ws.close()
        await asyncio.wait({self.reader}, timeout=60)
        await self.session.close()

    async def say(self, frame):
        await self.ws.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def call(self, event, data=None):
        ack = len(self.acks)
        self.acks[ack] = asyncio.get_running_loop().create_future()
        await self.say({"event": event, "data": data, "ack": ack})
        return await asyncio.wait_for(self.acks[ack], 60)

    async def drop(self):
        self.ws._response.connection.transport.abort()
        await asyncio.wait({self.reader}, timeout=60)

    async def _read(self):
        async for message in self.ws:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            frame = json.loads(message.data)
            if frame["event"] == "ack":
                self.acks[frame["ack"]].set_result(frame["data"])
            else:
                self._hear(frame["event"], frame["data"])


class Sse(Listener):
    """One connection of an EventSource, parsed strictly; ``ids`` is the id of each event."""

    def __init__(self, url, last_event_id=None, *, connector=None, **request):
        super().__init__()
        self.connector = connector
        self.url, self.request = url, request
        self.headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self.ids, self.comments, self.retry_ms, self.whole = [], 0, None, False

    async def __aenter__(self):
        self.session = aiohttp.ClientSession(
            connector=self.connector, timeout=aiohttp.ClientTimeout(total=60)
        )
        method = "POST" if "json" in self.request else "GET"
        headers = {**self.headers, **self.request.pop("headers", {})}
        self.response = await self.session.request(method, self.url, headers=headers, **self.request)
        self.status = self.response.status
        self.reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        self.reader.cancel()
        await asyncio.wait({self.reader})
        self.response.close()
        await self.session.close()

    async def over(self):
        """Wait for the end of the response, and return whether it was a clean one."""
        await asyncio.wait_for(asyncio.shield(self.reader), 10)
        return self.whole

    async def _read(self):
        buffer = bytearray()
        with contextlib.suppress(aiohttp.ClientError):
            async for piece in self.response.content.iter_any():
                buffer += piece
                if buffer.find(b"\n\n", max(0, len(buffer) - len(piece) - 1)) < 0:
                    continue
                *events, buffer = buffer.split(b"\n\n")
                for lines in events:
                    self._take(lines.decode().split("\n"))
            self.whole = not buffer
        self.changed.set()

    def _take(self, lines):
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if "retry" in fields:
            self.retry_ms = int(fields["retry"])
        if "" in fields:
            self.comments += 1
        if "data" in fields:
            self.ids.append(fields.get("id"))
            data = fields["data"]
            self._hear(fields.get("event", "message"), data if data == "[DONE]" else json.loads(data))


class Room(Sse):
    """An EventSource of a room."""

    def __init__(self, address, room, last_event_id=None, query="", **given):
        super().__init__(f"{address}/chat/rooms/{room}/stream{query}", last_event_id, **given)
