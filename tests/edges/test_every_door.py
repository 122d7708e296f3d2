"""One conversation in one room through every door at once, while devices drop, reload and come late."""

import asyncio
import contextlib

import aiohttp
import pytest
from door_clients import Sse
from every_door import (
    EventSourcePage,
    ModulePage,
    NpmPage,
    PlainPage,
    PythonPage,
    Staying,
    UseChat,
    of_the_chat_server,
)
from legacy_chat import legacy_server
from loopback import Client, PollingClient, running
from redis_server import redis_server

TOOLS = ("node", "redis-server", "ai-sdk", "socket.io", "socket.io-client")
CASTS = [
    pytest.param(1, False, id="one node"),
    *(
        pytest.param(nodes, True, id=name, marks=[pytest.mark.needs(tool) for tool in TOOLS])
        for nodes, name in ((1, "one node and those of npm"), (2, "two nodes and those of npm"))
    ),
]


def asked_by_use_chat(request_id):
    user = {"role": "user", "parts": [{"type": "text", "text": "hi"}], "id": request_id}
    return {"id": "room", "messages": [user]}


def parts_of(stream):
    return [data for data in stream.of("message") if data != "[DONE]"]


def ui_text(stream):
    return "".join(part["delta"] for part in parts_of(stream) if part["type"] == "text-delta")


def told(stream):
    """Return the answer that ``POST /stream/`` told, behind the question."""
    return "".join(data["delta"] for data in parts_of(stream)[1:])


class Conversation:
    """The room's devices, on the first and the last of ``addresses``, and the steps of what is said."""

    def __init__(self, stack, addresses, script):
        self.stack, self.here, self.script = stack, stack.enter_async_context, script
        self.one, self.two = addresses[0], addresses[-1]
        self.plain = PlainPage(stack, self.one, self.two)
        self.source = EventSourcePage(stack, self.two, self.one)
        self.python = PythonPage(stack, self.one, self.two)
        self.late = PlainPage(stack, self.two)
        self.today = Staying(stack, self.one, Client)
        self.polling = Staying(stack, self.two, PollingClient)
        self.legacy = Staying(stack, self.two, lambda address: Client(address, auth={"streaming": False}))
        self.roaming = [self.plain, self.source, self.python]
        self.modules, self.servers, self.there = [], [], []
        self.expected = {}

    async def begin(self):
        await self.legacy.come()
        await self.come(self.today, self.polling, *self.roaming)

    async def begin_with_npm(self, redis):
        """Let those in that need Node: its socket.io-client, the client module, devices of a chat-server."""
        ways = (("socket.io-client", self.one), ("overWebSocket", self.two), ("overEventStream", self.one))
        self.modules = [ModulePage(self.stack, address, way) for way, address in ways]
        self.roaming += [NpmPage(self.stack, self.two, self.one), *self.modules]
        backends = (self.one, self.two)
        started = await asyncio.gather(*(self.here(legacy_server(redis.url, each)) for each in backends))
        self.servers = [
            Staying(self.stack, server.address, of_the_chat_server(version))
            for server, version in zip(started, ("4", "2"), strict=True)
        ]
        await asyncio.gather(self.come(*self.servers), self.begin())

    async def come(self, *pages):
        await asyncio.gather(*(page.come() for page in pages))
        self.there += pages

    async def go(self, *pages):
        for page in pages:
            await page.gone()
            self.there.remove(page)

    async def back(self, *pages):
        await self.go(*pages)
        await self.come(*pages)

    async def says(self, request_id, *deltas):
        """Let the backend say more, and all who are there hear it, and what they have missed."""
        name = f"m-{request_id}"
        self.expected[name] = self.expected.get(name, "") + "".join(deltas)
        self.script.say(*deltas)
        await self.all(lambda page: page.texts() == self.expected)

    async def ends(self, request_id):
        self.script.finish()
        await self.ended(request_id, "stop")

    async def ended(self, request_id, reason):
        await self.all(lambda page: page.ended().get(f"m-{request_id}") == reason)

    async def all(self, is_so):
        try:
            async with asyncio.timeout(60):
                for each in self.there:
                    while not is_so(each):
                        each.changed.clear()
                        await each.changed.wait()
        except TimeoutError:
            others = [
                (type(page.connection).__name__, page.texts(), page.ended())
                for page in self.there
                if not is_so(page)
            ]
            pytest.fail(f"expected {self.expected}, but {others}")

    async def asked_by_the_ai_sdk(self):
        """All that can go do, and come back; one comes late, the asker loses its connection and resumes."""
        lost = await self.here(Sse(f"{self.one}/api/chat", json=asked_by_use_chat("r-1")))
        await self.says("r-1", "a", "b")
        await self.go(*self.roaming)
        lost.response.connection.transport.abort()
        await self.says("r-1", "c", "d")
        await self.come(*self.roaming)
        await self.says("r-1", "e")
        await self.come(self.late)
        resumed = await self.here(Sse(f"{self.two}/api/chat/room/stream"))
        await self.says("r-1", "f")
        await self.ends("r-1")
        assert await resumed.over()
        assert ui_text(resumed) == "abcdef"
        assert "abcdef".startswith(ui_text(lost))

    async def asked_by_fetch(self):
        """The asker loses its connection and asks once more; meanwhile every page is gone for a moment."""
        asked = {"chat_id": "room", "content": "b", "request_id": "r-2"}
        lost = await self.here(Sse(f"{self.one}/stream/", json=asked))
        await self.says("r-2", "g")
        lost.response.connection.transport.abort()
        for page in (self.late, *self.roaming):
            await self.back(page)
        await self.says("r-2", "h")
        again = await self.here(Sse(f"{self.two}/stream/", json=asked))
        await self.says("r-2", "i")
        await self.ends("r-2")
        assert await again.over()
        assert told(again) == "ghi"

    async def asked_by_the_event_source(self, session):
        data = {"roomId": "room", "content": "c", "requestId": "r-3"}
        say = {"event": "send_message", "data": data}
        async with session.post(f"{self.two}/chat/events", json=say) as answer:
            assert (await answer.json())["ok"]
        await self.says("r-3", "j")
        await asyncio.gather(*(page.reload() for page in self.modules))
        await self.says("r-3", "k")
        await self.back(self.source)
        await self.ends("r-3")

    async def asked_for_the_whole(self, session):
        asked = {"chat_id": "room", "content": "d", "request_id": "r-4"}
        whole = asyncio.create_task(session.post(f"{self.one}/messages/", json=asked))
        await self.says("r-4", "l")
        await self.back(self.plain)
        await self.ends("r-4")
        async with await whole as answer:
            assert (await answer.json())["content"] == "l"

    async def asked_and_stopped_from_another_door(self):
        asked = {"roomId": "room", "content": "e", "requestId": "r-5"}
        assert (await self.python.connection.call("send_message", asked))["ok"]
        await self.says("r-5", "m", "n")
        await self.back(self.late)
        await self.says("r-5", "o")
        stop = {"roomId": "room", "requestId": "r-5"}
        assert (await self.plain.connection.call("stop_message", stop))["ok"]
        await self.ended("r-5", "cancelled")

    async def asked_by_use_chat(self):
        """The SDK itself asks by its stock transport, and is reloaded as the answer grows."""
        async with UseChat.at(self.one, "http") as chat:
            chat.tell(call="sendMessage", **{"with": {"text": "f"}})
            request_id = await self.asked("f")
            await self.says(request_id, "p")
            await chat.shows("streaming", "p")
        ways = ((self.two, "http"), (self.one, "socket.io"))
        reloaded = await asyncio.gather(*(self.here(UseChat.at(*way, resume=True)) for way in ways))
        for each in reloaded:
            await each.shows("streaming", "p")
        await self.says(request_id, "q")
        await self.ends(request_id)
        for each in reloaded:
            await each.shows("ready", "pq")

    async def asked_by_a_device_of_the_chat_server(self):
        asks, hears = self.servers
        asked = {"roomId": "room", "content": "g", "requestId": "r-7"}
        assert (await asks.connection.call("send_message", asked))["ok"]
        await self.says("r-7", "r", "s")
        await self.back(*self.roaming)
        await self.says("r-7", "t")
        await self.ends("r-7")
        for each in (asks, hears):
            await each.connection.first("new_message", lambda data: data["content"] == "rst")

    async def asked(self, content):
        """Return the request of whoever asked this."""
        async with asyncio.timeout(60):
            while not (
                found := [each for each in self.today.of("new_message") if each["content"] == content]
            ):
                self.today.changed.clear()
                await self.today.changed.wait()
        return found[0]["requestId"]

    async def all_are_equal(self):
        """Each has all texts, and who is told complete messages was told each once."""
        for each in self.there:
            assert each.texts() == self.expected
        for each in (self.legacy, self.today, self.polling, *self.servers):
            await each.until("new_message", 2 * len(self.expected))
            whole = {data["messageId"]: data["content"] for data in each.answers()}
            assert whole == self.expected
            assert len(each.of("new_message")) == 2 * len(self.expected)
        assert len(self.script.requests) == len(self.expected)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("nodes", "npm"), CASTS)
async def test_every_door_tells_the_same_conversation(script, tmp_path, nodes, npm):
    async with contextlib.AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        redis = stack.enter_context(redis_server(tmp_path)) if npm else None
        shared = {} if redis is None else {"redis_url": redis.url}
        bridges = [await stack.enter_async_context(running(script, **shared)) for _ in range(nodes)]
        room = Conversation(stack, [bridge.address for bridge in bridges], script)
        await (room.begin_with_npm(redis) if npm else room.begin())
        async with asyncio.timeout(60):
            while npm and not all(bridge.shared.audience.there for bridge in bridges):
                await asyncio.sleep(0.05)  # they look for Node servers once a second
        await room.asked_by_the_ai_sdk()
        await room.asked_by_fetch()
        await room.asked_by_the_event_source(session)
        await room.asked_for_the_whole(session)
        await room.asked_and_stopped_from_another_door()
        if npm:
            await room.asked_by_use_chat()
            await room.asked_by_a_device_of_the_chat_server()
        await room.all_are_equal()
