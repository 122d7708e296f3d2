"""Devices of one room behind every door, alike for a test: they come, they go, and they have texts."""

import asyncio
import contextlib
import itertools
import json
from pathlib import Path

from door_clients import Room, WebSocketClient
from door_laws import text_of
from legacy_chat import LegacyDevice, NodeProcess
from loopback import Client, Listener

TESTS = Path(__file__).resolve().parents[1]
SOCKET_IO_CLIENT = TESTS / "end_to_end" / "socket_io_client" / "device.js"
CLIENT_MODULE = TESTS / "web_client" / "device.mjs"
USE_CHAT = TESTS / "ai_sdk" / "device.js"


def unfinished(heard):
    """Return what a client resumes: the last seq of each message whose end it did not hear."""
    seqs = {}
    for name, data in heard:
        if name == "ai_message_start":
            seqs[data["messageId"]] = 0
        elif name == "ai_message_chunk":
            seqs[data["messageId"]] = data["seq"]
        elif name == "ai_message_end":
            seqs.pop(data["messageId"], None)
    return seqs


class Page(Listener):
    """What a page keeps while its connections come and go: to each of ``addresses`` in turn.

    ``connected`` makes a connection, an asynchronous context that tells ``_hear``.
    """

    def __init__(self, stack, *addresses):
        super().__init__()
        self.stack, self.addresses = stack, itertools.cycle(addresses)
        self.connection = None

    async def come(self):
        self.connection = await self.stack.enter_async_context(self.connected(next(self.addresses)))
        self.connection._hear = self._hear
        for name, data in self.connection.heard:  # what came with the connection itself
            self._hear(name, data)
        await self.enter()

    async def enter(self):
        asked = {"roomId": "room", "resume": unfinished(self.heard)}
        assert "lost" not in await self.connection.call("join_room", asked)

    async def back(self):
        await self.gone()
        await self.come()

    def texts(self):
        """Return the text of each answer; refuses what the law forbids."""
        return text_of(self.heard)

    def ended(self):
        return {data["messageId"]: data["finishReason"] for data in self.of("ai_message_end")}


class Staying(Page):
    """One that never goes: ``connect`` makes its connection."""

    def __init__(self, stack, address, connect):
        super().__init__(stack, address)
        self.connected = connect


class PythonPage(Page):
    """python-socketio's client."""

    def connected(self, address):
        return Client(address, auth={"streaming": True})

    async def gone(self):
        engine = self.connection.sio.eio
        engine.ws._response.connection.transport.abort()
        await asyncio.wait_for(engine.wait(), 60)


class PlainPage(Page):
    """A plain WebSocket."""

    def connected(self, address):
        return WebSocketClient(address, auth={"streaming": True})

    async def gone(self):
        await self.connection.drop()


class EventSourcePage(Page):
    """An EventSource, with its Last-Event-ID."""

    last_event_id = None

    def connected(self, address):
        return Room(address, "room", self.last_event_id, "?streaming=true")

    async def enter(self):
        """Be in by being there."""

    async def gone(self):
        self.last_event_id = ([each for each in self.connection.ids if each] or [None])[-1]
        self.connection.response.connection.transport.abort()
        await self.connection.over()


class NpmDevice(LegacyDevice):
    """A device in a Node process, which tells a page what it hears."""

    def __init__(self, process):
        self.heard = []
        super().__init__(process)

    def _hear(self, name, data):
        self.heard.append((name, data))

    def hear(self, line):
        super().hear(line)
        if "event" in line:
            self._hear(line["event"], line["data"])

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, *command):
        device = await cls.start(*map(str, command))
        try:
            await device.until(lambda line: "connected" in line)
            yield device
        finally:
            await device.stop()


class NpmPage(Page):
    """socket.io-client as it comes from npm; its process dies when it goes."""

    def connected(self, address):
        given = {"transports": ["websocket"], "reconnection": False, "auth": {"streaming": True}}
        return NpmDevice.at(SOCKET_IO_CLIENT, address, json.dumps(given))

    async def gone(self):
        await self.connection.stop()


def of_the_chat_server(version):
    """Return what connects a device of the chat-server, by this major version of socket.io-client."""
    return lambda address: NpmDevice.at("device.js", version, address, '{"reconnection": false}')


class ClientModule(NodeProcess):
    """A page without a page over bridge/web/client.js; ``look`` is given each state that it shows."""

    def __init__(self, process):
        self.shown, self.losses = {"messages": [], "connected": False}, 0
        self.look = lambda _: None
        super().__init__(process)

    def hear(self, line):
        super().hear(line)
        before, self.shown = self.shown, line.get("shown", self.shown)
        self.losses += before["connected"] and not self.shown["connected"]
        self.look(self.shown)

    def do(self, call, argument=None):
        self.process.stdin.write(json.dumps([call, argument]).encode() + b"\n")

    @classmethod
    @contextlib.asynccontextmanager
    async def over(cls, way, address):
        options = json.dumps({"roomId": "room", "way": way, "auth": {"streaming": True}})
        websocket = {"NODE_OPTIONS": "--experimental-websocket --no-warnings"}
        started = await cls.start(CLIENT_MODULE, address, options, **websocket)
        try:
            yield started
        finally:
            await started.stop()


class ModulePage(Page):
    """The client module over one of its ways: it comes back by itself; a text that it shows only grows."""

    def __init__(self, stack, address, way):
        super().__init__(stack, address)
        self.way = way
        self._shown, self._texts, self._ended = {}, {}, {}

    def connected(self, address):
        return ClientModule.over(self.way, address)

    async def come(self):
        if self.connection is None:
            self._shown = {}
            self.connection = await self.stack.enter_async_context(self.connected(next(self.addresses)))
            self.connection.look = self._look
        await self.connection.until_so(lambda: self.connection.shown["connected"])

    async def gone(self):
        losses = self.connection.losses
        self.connection.do("drop")
        await self.connection.until_so(lambda: self.connection.losses > losses)

    async def reload(self):
        """Forget everything, and come anew."""
        await self.connection.stop()
        self.connection = None
        await self.come()

    def texts(self):
        return self._texts

    def ended(self):
        return self._ended

    def _look(self, state):
        answers = [message for message in state["messages"] if message["role"] == "assistant"]
        assert len({message["messageId"] for message in answers}) == len(answers), "an answer twice"
        for message in answers:
            self._check(message["messageId"], message["text"], message["state"])
            if message["state"] != "streaming":
                self._ended[message["messageId"]] = message["reason"]
        self.changed.set()

    def _check(self, message_id, text, state):
        before, was = self._shown.get(message_id, ("", "streaming"))
        assert text.startswith(before), "a text that does not grow"
        assert was == "streaming" or (text, state) == (before, was), "something after the end"
        self._shown[message_id] = text, state
        self._texts[message_id] = text


class UseChat(NodeProcess):
    """A React component with useChat of npm."""

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address, transport, **options):
        given = json.dumps({"id": "room", "transport": transport, **options})
        started = await cls.start(USE_CHAT, address, given)
        try:
            await started.until(lambda line: "shown" in line)
            yield started
        finally:
            await started.stop()

    async def shows(self, status, text):
        """Wait until it shows an answer of this text last."""
        await self.until_so(lambda: self._last() == (status, text))

    def _last(self):
        shown = next(line["shown"] for line in reversed(self.said) if "shown" in line)
        if not shown["messages"] or shown["messages"][-1]["role"] != "assistant":
            return None
        parts = shown["messages"][-1]["parts"]
        return shown["status"], "".join(part["text"] for part in parts if part["type"] == "text")
