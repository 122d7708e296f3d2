"""Ordinary emits, rooms, disconnects and callbacks over two Socket.IO servers that share a Redis."""

import asyncio
import contextlib

import pytest
import socketio
from aiohttp import web
from loopback import Client
from redis_server import redis_server

from bridge.errors import OrderUnusable, StoreUnavailable
from bridge.letters import Ordered
from bridge.redis_client import RedisClient
from bridge.sockets.manager import ClientManager
from bridge.stores.redis import RedisStore

pytestmark = pytest.mark.needs("redis-server")
TIMES = {"lease_s": 1.0, "turn_s": 60.0, "window_s": 60.0}


class Faults(list):
    """Keeps the faults that were reported."""

    def fault(self, error):
        self.append(error)


class Server:
    """A Socket.IO server that hears its inbox from the start; knows its clients in the order they came."""

    def __init__(self, redis_url, node_id):
        self.faults = Faults()
        self.now_s = 0.0
        self.sids, self.left, self.obeyed = [], [], 0
        self.store = RedisStore(RedisClient(redis_url), node_id, **TIMES)
        self.manager = ClientManager(self.store, self.faults, lambda: self.now_s)
        self.sio = socketio.AsyncServer(async_mode="aiohttp", client_manager=self.manager)
        self.sio.on("connect", self._connect)
        self.sio.on("disconnect", self._disconnect)

    async def _connect(self, sid, _):
        self.sids.append(sid)
        await self.sio.enter_room(sid, "lobby")

    async def _disconnect(self, sid, _):
        self.left.append(sid)

    @contextlib.asynccontextmanager
    async def running(self):
        await self.store.start()
        await self.store.beat()
        app = web.Application()
        self.sio.attach(app)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        living = [asyncio.create_task(self._hear()), asyncio.create_task(self._live())]
        try:
            yield self
        finally:
            for task in living:
                task.cancel()
            await asyncio.gather(*living, return_exceptions=True)
            await self.manager.close()
            await self.sio.shutdown()
            await runner.cleanup()
            await self.store.close()

    async def _hear(self):
        async for letter in self.store.letters():
            assert isinstance(letter, Ordered)
            self.manager.obey(letter.sender, letter.order)
            self.obeyed += 1

    async def _live(self):
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self.store.beat()
            await asyncio.sleep(0.3)

    async def until(self, holds):
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _closes_soon(monkeypatch):
    monkeypatch.setattr("bridge.inbox_reader.BLOCK_S", 0.1)


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def pair(redis):
    redis.command("FLUSHALL")
    async with Server(redis.url, "one").running() as one, Server(redis.url, "two").running() as two:
        yield one, two


@contextlib.asynccontextmanager
async def clients(*servers):
    """Give a client of each server, whose sid is known."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for server in servers:
            client = await stack.enter_async_context(Client(server.address))
            client.sid = client.sio.get_sid()
            found.append(client)
        yield found


async def numbers(client, count):
    """Return the data of an event as it came, once ``count`` came and time for more has passed."""
    if count:
        await client.until("n", count)
    await asyncio.sleep(0.1)
    return client.of("n")


async def test_an_emit_reaches_the_clients_of_all_nodes_once_and_in_order(pair, redis):
    one, two = pair
    async with (
        Server(redis.url, "idle").running() as idle,
        clients(one, one, two, two) as (a, b, c, d),
    ):
        for number in range(100):
            await (one, idle)[number // 50].sio.emit("n", number, to="lobby")
        for client in (a, b, c, d):
            assert sorted(await numbers(client, 100)) == list(range(100))
            assert [n for n in client.of("n") if n < 50] == list(range(50))
            assert [n for n in client.of("n") if n >= 50] == list(range(50, 100))


async def test_a_node_hears_from_its_start_before_any_client_ever_came(pair):
    one, two = pair
    await one.sio.emit("n", 0)
    await two.until(lambda: two.obeyed == 1)
    async with clients(two) as (client,):
        client.sio.on("ask", lambda: "yes")
        assert await one.sio.call("ask", to=client.sid, timeout=60) == "yes"
        assert await numbers(client, 0) == []


async def test_who_is_skipped_hears_nothing_on_whatever_node(pair):
    one, two = pair
    async with clients(one, two, two) as (a, b, c):
        await one.sio.emit("n", 1, skip_sid=b.sid)
        await two.sio.emit("n", 2, to="lobby", skip_sid=[a.sid, c.sid])
        await one.sio.emit("n", 3, to=[c.sid, a.sid, "nobody"])
        assert sorted(await numbers(a, 2)) == [1, 3]
        assert await numbers(b, 1) == [2]
        assert await numbers(c, 2) == [1, 3]


async def test_only_the_namespace_and_the_room_of_an_emit_hear_it(pair):
    one, two = pair
    for server in pair:
        server.sio.on("connect", lambda *_: None, namespace="/other")
    async with clients(one, two) as (a, b):
        await one.sio.emit("n", 1, namespace="/other")
        await one.sio.emit("n", 2, to=42)
        await one.sio.enter_room(b.sid, 42)
        await one.sio.emit("n", 3, to="42")
        await one.sio.emit("n", 4, to=42)
        assert await numbers(b, 1) == [4]
        assert a.of("n") == []


async def test_a_client_of_another_node_enters_and_leaves_rooms_which_are_closed_for_all(pair):
    one, two = pair
    async with clients(one, two) as (a, b):
        for client in (a, b):
            await one.sio.enter_room(client.sid, "r")
        await one.sio.emit("n", 1, to="r")
        await one.sio.leave_room(b.sid, "r")
        await one.sio.emit("n", 2, to="r")
        await one.sio.enter_room(b.sid, "r")
        await one.sio.emit("n", 3, to="r")
        await one.sio.close_room("r")
        await one.sio.emit("n", 4, to="r")
        await one.sio.emit("n", 5)
        assert await numbers(a, 4) == [1, 2, 3, 5]
        assert await numbers(b, 3) == [1, 3, 5]


async def test_a_client_of_another_node_is_disconnected_behind_what_it_was_told(pair):
    one, two = pair
    async with clients(one, two, two) as (a, b, c):
        gone = asyncio.Event()
        b.sio.on("disconnect", lambda _: gone.set())
        await one.sio.emit("n", 1, to=b.sid)
        await one.sio.disconnect(b.sid)
        await one.sio.disconnect("never-was")
        await one.sio.emit("n", 2)
        async with asyncio.timeout(60):
            await gone.wait()
        await c.until("n")
        assert await numbers(b, 1) == [1]
        assert two.left == [b.sid]
        assert a.of("n") == c.of("n") == [2]
        assert not two.manager.is_connected(b.sid, "/")


async def test_a_handler_that_hangs_deafens_nobody(pair):
    one, two = pair
    hangs = asyncio.Event()

    @two.sio.on("disconnect")
    async def disconnect(*_):
        hangs.set()
        await asyncio.Event().wait()

    async with clients(two, two) as (a, b):
        await one.sio.disconnect(a.sid)
        async with asyncio.timeout(60):
            await hangs.wait()
        await one.sio.emit("n", 1)
        assert await numbers(b, 1) == [1]
        two.sio.on("disconnect", lambda *_: None)


async def test_a_client_of_another_node_answers_a_callback_once(pair):
    one, two = pair
    async with clients(one, two) as (a, b):
        for client in (a, b):
            client.sio.on("ask", lambda *said: ("yes", *said))
        assert await one.sio.call("ask", "there?", to=b.sid, timeout=60) == ("yes", "there?")
        assert await one.sio.call("ask", b"\x00", to=b.sid, timeout=60) == ("yes", b"\x00")
        assert await one.sio.call("ask", ("here", 2), to=a.sid, timeout=60) == ("yes", "here", 2)
        answered = []
        await one.sio.emit("ask", to="lobby", callback=lambda *said: answered.append(said))
        await one.until(lambda: answered)
        await asyncio.sleep(0.1)
        assert answered == [("yes",)]
        assert not one.manager._awaited
        with pytest.raises(socketio.exceptions.TimeoutError):
            await one.sio.call("ask", to="nobody", timeout=0.1)


async def test_a_callback_that_fails_costs_nothing_but_itself(pair):
    one, two = pair

    async def fails(_):
        raise LookupError("planted")

    async with clients(two) as (client,):
        client.sio.on("ask", lambda: "yes")
        await one.sio.emit("ask", to=client.sid, callback=fails)
        await one.until(lambda: one.faults)
        assert isinstance(one.faults[0], LookupError)
        assert await one.sio.call("ask", to=client.sid, timeout=60) == "yes"


async def test_callbacks_that_nobody_answers_are_forgotten(pair, monkeypatch):
    monkeypatch.setattr("bridge.sockets.manager.ANSWERS_AWAITED", 10)
    monkeypatch.setattr("bridge.sockets.manager.ANSWERS_OF_CLIENT", 5)
    one, two = pair
    async with clients(one) as (client,):
        for _ in range(30):
            await one.sio.emit("ask", to="nobody", callback=print)
            await one.sio.emit("n", to=client.sid, callback=print)
        assert len(one.manager._awaited) == 10
        assert len(one.manager.callbacks[client.sid]) <= 6
        one.now_s = 61.0
        await one.sio.emit("ask", to="nobody", callback=print)
        assert len(one.manager._awaited) == 1
    assert two.faults == []


async def test_an_answer_nobody_asked_for_is_not_minded(pair):
    one, _ = pair
    async with clients(one) as (client,):
        client.sio.on("ask", lambda: "yes")
        assert await one.sio.call("ask", to=client.sid, timeout=60) == "yes"
        for packet in ("30[]", "31[1]", '399{"a":1}'):
            await client.sio.eio.send(packet)
        for _ in range(2):  # the first answer comes behind those
            assert await one.sio.call("ask", to=client.sid, timeout=60) == "yes"


@pytest.mark.parametrize(
    "data",
    [b"\x00\xff", {"a": [b"1", {"b": b""}], "c": "안녕"}, ("x", b"2", None), None, {"_placeholder": True}],
)
async def test_whatever_a_client_can_hear_here_it_hears_there(pair, data):
    one, two = pair
    async with clients(one, two) as heard_by:
        heard = []
        for client in heard_by:
            client.sio.on("raw", lambda *said: heard.append(said))
        await one.sio.emit("raw", data)
        await one.until(lambda: len(heard) == 2)
        expected = data if isinstance(data, tuple) else () if data is None else (data,)
        assert heard == [expected, expected]


async def test_what_cannot_be_told_to_other_nodes_is_heard_by_nobody(pair):
    one, two = pair
    async with clients(one, two) as (a, b):
        deep = []
        for _ in range(5000):
            deep = [deep]
        for data in (object(), float("inf"), "x" * 300_000, b"x" * 300_000, deep):
            with pytest.raises(OrderUnusable, match="unable to tell other nodes"):
                await one.sio.emit("n", data)
        with pytest.raises(OrderUnusable, match="a room must be named"):
            await one.sio.emit("n", 0, to=frozenset("ab"))
        await one.sio.emit("n", 1)
        assert await numbers(a, 1) == await numbers(b, 1) == [1]


async def test_an_order_that_cannot_be_read_or_done_is_counted_or_reported(pair):
    one, two = pair
    async with clients(two) as (client,):
        one.store.order("nonsense")
        one.store.order('["emit", "/", [["n", {"_placeholder": true, "num": 9}], ""], null, [], null]')
        one.store.order(f'["enter", "/", "{client.sid}", "{two.sids[0]}"]')
        await one.sio.emit("n", 1)
        assert await numbers(client, 1) == [1]
    assert two.manager.unreadable == 1
    assert [type(fault) for fault in two.faults] == [IndexError]


async def test_a_reader_whose_connection_is_killed_hears_every_emit_once_and_in_order(pair, redis):
    one, two = pair
    async with clients(one, two) as (a, b):
        for number in range(200):
            await one.sio.emit("n", number)
            if number in (50, 100, 150):
                await asyncio.to_thread(redis.command, "CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.005)
        assert await numbers(a, 200) == await numbers(b, 200) == list(range(200))


async def test_an_emit_never_waits_for_redis_and_arrives_when_it_is_back(tmp_path):
    with redis_server(tmp_path) as redis:
        async with (
            Server(redis.url, "one").running() as one,
            Server(redis.url, "two").running() as two,
            clients(one, two) as (a, b),
        ):
            redis.kill()
            for number in range(100):
                async with asyncio.timeout(60):
                    await one.sio.emit("n", number)
            assert await numbers(a, 100) == list(range(100))
            redis.start()
            assert await numbers(b, 100) == list(range(100))


async def test_a_process_without_clients_of_its_own_can_emit_to_all(pair, redis):
    one, two = pair
    store = RedisStore(RedisClient(redis.url), "emitter", **TIMES)
    await store.start()
    emitter = ClientManager(store, Faults(), lambda: 0.0)
    async with clients(one, two) as (a, b):
        await emitter.enter_room(b.sid, "/", "r")
        await emitter.emit("n", 1, to="r")
        await emitter.emit("n", 2)
        assert await numbers(a, 1) == [2]
        assert await numbers(b, 2) == [1, 2]
    await store.close()
