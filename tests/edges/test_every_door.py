"""One conversation in one room, asked and heard through every door at once, while connections drop."""

import asyncio
import contextlib

import aiohttp
from door_clients import Room, Sse, WebSocketClient
from door_laws import text_of
from loopback import Client, Listener, PollingClient

USER = {"role": "user", "parts": [{"type": "text", "text": "hi"}]}


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
    """What a page keeps while its connections come and go; ``connected`` makes one that tells it."""

    def __init__(self, stack, address):
        super().__init__()
        self.stack, self.address = stack, address
        self.connection = None

    async def come(self):
        self.connection = await self.stack.enter_async_context(self.connected())
        self.connection._hear = self._hear
        for name, data in self.connection.heard:  # what came with the connection itself
            self._hear(name, data)
        await self.enter()

    async def back(self):
        await self.gone()
        await self.come()


class PlainPage(Page):
    def connected(self):
        return WebSocketClient(self.address, auth={"streaming": True})

    async def enter(self):
        asked = {"roomId": "room", "resume": unfinished(self.heard)}
        assert "lost" not in await self.connection.call("join_room", asked)

    async def gone(self):
        await self.connection.drop()


class EventSourcePage(Page):
    last_event_id = None

    def connected(self):
        return Room(self.address, "room", self.last_event_id, "?streaming=true")

    async def enter(self):
        """Be in by being there."""

    async def gone(self):
        self.last_event_id = ([each for each in self.connection.ids if each] or [None])[-1]
        self.connection.response.connection.transport.abort()
        await self.connection.over()


class Conversation:
    """The room's devices, and the steps of what is said there."""

    def __init__(self, stack, bridge, script):
        self.here, self.address, self.script = stack.enter_async_context, bridge.address, script
        self.plain, self.source, self.late = (
            kind(stack, bridge.address) for kind in (PlainPage, EventSourcePage, PlainPage)
        )
        self.there = []
        self.turns = 0

    async def begin(self):
        self.socket_io = await self.here(Client(self.address, auth={"streaming": True}))
        self.today = await self.here(Client(self.address))
        self.polling = await self.here(PollingClient(self.address))
        self.legacy = await self.here(Client(self.address, auth={"streaming": False}))
        for client in (self.socket_io, self.today, self.polling, self.legacy):
            await client.call("join_room", {"roomId": "room"})
        self.there = [self.socket_io, self.today, self.polling]
        for page in (self.plain, self.source):
            await self.come(page)

    async def come(self, page):
        await page.come()
        self.there.append(page)

    async def go(self, page):
        await page.gone()
        self.there.remove(page)

    async def says(self, *deltas):
        """Let the backend say more, and all who are there hear it."""
        whole = "".join([*text_of(self.socket_io.heard).values(), *deltas])
        self.script.say(*deltas)
        async with asyncio.timeout(10):
            for each in self.there:
                while "".join(text_of(each.heard).values()) != whole:
                    each.changed.clear()
                    await each.changed.wait()

    async def ends(self):
        self.script.finish()
        self.turns += 1
        for each in self.there:
            await each.until("ai_message_end", self.turns)

    async def asked_by_use_chat(self):
        """Two devices drop and come back, one comes late, the asker's page is reloaded."""
        chat = {"id": "room", "messages": [{**USER, "id": "r-1"}]}
        asker = await self.here(Sse(f"{self.address}/api/chat", json=chat))
        await self.says("a", "b")
        for page in (self.plain, self.source):
            await self.go(page)
        await self.says("c", "d")
        for page in (self.plain, self.source):
            await self.come(page)
        await self.says("e")
        await self.come(self.late)
        reloaded = await self.here(Sse(f"{self.address}/api/chat/room/stream"))
        await self.says("f")
        await self.ends()
        for each in (asker, reloaded):
            assert await each.over()
            parts = [data for data in each.of("message") if data != "[DONE]"]
            assert "".join(part["delta"] for part in parts if part["type"] == "text-delta") == "abcdef"

    async def asked_by_fetch(self):
        """All that can come back do."""
        asked = {"chat_id": "room", "content": "b", "request_id": "r-2"}
        fetch = await self.here(Sse(f"{self.address}/stream/", json=asked))
        await self.says("g")
        for page in (self.plain, self.source, self.late):
            await page.back()
        await self.says("h")
        await self.ends()
        assert await fetch.over()
        assert "".join(data["delta"] for data in fetch.of("message")[1:-1]) == "gh"

    async def asked_by_the_event_source(self, session):
        data = {"roomId": "room", "content": "c", "requestId": "r-3"}
        say = {"event": "send_message", "data": data}
        async with session.post(f"{self.address}/chat/events", json=say) as answer:
            assert (await answer.json())["ok"]
        await self.says("i", "j")
        await self.source.back()
        await self.ends()

    async def asked_for_the_whole(self, session):
        asked = {"chat_id": "room", "content": "d", "request_id": "r-4"}
        whole = asyncio.create_task(session.post(f"{self.address}/messages/", json=asked))
        await self.says("k")
        await self.plain.back()
        await self.ends()
        async with await whole as answer:
            assert (await answer.json())["content"] == "k"


async def test_every_door_tells_the_same_conversation(bridge, script):
    async with contextlib.AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        room = Conversation(stack, bridge, script)
        await room.begin()
        await room.asked_by_use_chat()
        await room.asked_by_fetch()
        await room.asked_by_the_event_source(session)
        await room.asked_for_the_whole(session)
        texts = {"m-r-1": "abcdef", "m-r-2": "gh", "m-r-3": "ij", "m-r-4": "k"}
        for each in room.there:
            assert text_of(each.heard) == texts
        for each in (room.legacy, room.today, room.polling):
            await each.until("new_message", 8)
            assert {data["messageId"]: data["content"] for data in each.answers()} == texts
        assert len(script.requests) == 4
