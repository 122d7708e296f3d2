"""A Node server and a bridge on one Redis, with clients of each."""

import asyncio
import contextlib
import itertools
import re
from collections import defaultdict

from legacy_chat import NodeProcess

from bridge import profiles
from bridge.app import App
from bridge.settings import load


class NodeServer(NodeProcess):
    """A Node server that does what it is told."""

    address = ""

    def __init__(self, process):
        super().__init__(process)
        self._ids = itertools.count(1)

    async def do(self, what, **order):
        """Have it done; return the result, or raise what the server said."""
        order_id = next(self._ids)
        self.tell(id=order_id, do=what, **order)
        answer = await self.until(lambda line: line.get("id") == order_id)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]


@contextlib.asynccontextmanager
async def node_server(redis_url, **environ):
    server = await NodeServer.start("cluster_server.js", REDIS_URL=redis_url, **environ)
    try:
        port = (await server.until(lambda line: "listening" in line))["listening"]
        server.address = f"http://127.0.0.1:{port}"
        yield server
    finally:
        await server.stop()


class Clients(NodeProcess):
    """The clients of one Node process, each with a name."""

    def __init__(self, process):
        super().__init__(process)
        self._of = defaultdict(list)

    def hear(self, line):
        super().hear(line)
        self._of[line["client"]].append(line)

    async def connect(self, client, address, **options):
        known = self._count("connected", client)
        self.tell(client=client, connect=address, options=options)
        await self.until_so(lambda: self._count("connected", client) > known)

    async def call(self, client, event, *args):
        known = self._count("ack", client)
        self.tell(client=client, emit=event, args=args)
        await self.until_so(lambda: self._count("ack", client) > known)
        return [line["ack"] for line in self._of[client] if "ack" in line][-1]

    async def join(self, room, *clients):
        for client in clients:
            assert (await self.call(client, "join_room", {"roomId": room}))["ok"]

    def sid(self, client):
        return [line["connected"] for line in self._of[client] if "connected" in line][-1]

    def heard(self, client, event):
        """Return the arguments of every such event that the client heard."""
        return [line["args"] for line in self._of[client] if line.get("event") == event]

    async def until_heard(self, client, event, count=1):
        await self.until_so(lambda: len(self.heard(client, event)) >= count)
        return self.heard(client, event)

    async def until_told(self, client, content):
        """Return the first complete message of this content."""
        told = lambda line: line.get("event") == "new_message" and line["args"][0]["content"] == content  # noqa: E731
        return (await self.until(lambda line: line["client"] == client and told(line)))["args"][0]

    async def disconnected(self, client):
        known = lambda line: line["client"] == client and "disconnected" in line  # noqa: E731
        return (await self.until(known))["disconnected"]

    def _count(self, what, client):
        return sum(what in line for line in self._of[client])


@contextlib.asynccontextmanager
async def clients():
    started = await Clients.start("cluster_clients.js")
    try:
        yield started
    finally:
        await started.stop()


@contextlib.asynccontextmanager
async def bridge_at(redis_url, backend_url="http://127.0.0.1:9", **settings):
    patient = dict.fromkeys(
        ("connect_s", "first_delta_s", "stall_s"), 100.0
    )  # what holds the backend is slow
    given = {"port": 0, "redis_url": redis_url, "backend_url": backend_url, "drain_s": 0.3}
    app = App(load({}, None, **given, **patient, **settings), profiles.Profile())
    app.address = await app.start()
    try:
        yield app
    finally:
        await app.stop()


def listeners(redis):
    """Return who listens on a Redis: to how many channels and patterns each connection does."""
    return sorted(re.findall(rb" (sub=\d+ psub=\d+)\b", redis.command("CLIENT", "LIST", "TYPE", "pubsub")))


def followers(redis):
    """Return those who listen to patterns, as each server of the classic adapter and each bridge does."""
    return [each for each in listeners(redis) if not each.endswith(b"psub=0")]


async def until(is_so, within_s=60):
    """Wait for a fact that no event tells."""
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)
