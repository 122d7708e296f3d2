"""Every store behind the ports: in memory, on fakeredis, on a redis-server of its own."""

import asyncio
import contextlib
import itertools
import time

import fakeredis
import pytest
from redis.exceptions import NoScriptError, ResponseError
from redis_server import SERVERS, redis_server

from bridge.errors import StoreUnavailable
from bridge.lasting_line import LastingLine
from bridge.redis_client import RedisClient
from bridge.rollout import Rollout
from bridge.stores.memory import MemoryFlag, MemoryInbox, MemoryJournal, MemoryTally
from bridge.stores.redis import RedisStore
from bridge.stores.redis_flag import RedisFlag
from bridge.stores.redis_tally import RedisTally

WINDOW_S = 600.0
LEASE_S = 0.3
PREFIXES = (f"test-{number}:" for number in itertools.count())


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


class FakeClient(RedisClient):
    """fakeredis in the place of a server."""

    def __init__(self, server):
        self.commands = fakeredis.FakeAsyncRedis(server=server)
        self.reader = fakeredis.FakeAsyncRedis(server=server)
        self._lines = self.commands
        self._calls = LastingLine(self.line, self._begun)
        self._lasting = [self._calls]
        self._turn_to_call = asyncio.Semaphore(32)
        self._shas = {}
        self._asking = set()

    async def check(self):
        """Say nothing: it has no INFO."""

    async def line(self):
        """Give a line without a connection."""
        return FakeLine(self, self.commands)

    async def _made_to_wait(self):
        return FakeLine(self, self.reader)


class FakeLine:
    """Sends commands as a `RedisLine` does, by the library's pipeline."""

    lost = False

    def __init__(self, client, redis):
        self._client, self._redis, self._under_way = client, redis, set()

    def exchange(self, commands, answered, *, gather=False):  # noqa: ARG002  (a task gathers anyway)
        """Send ``commands``, in a task."""
        exchange = asyncio.create_task(self._exchange(commands, answered))
        self._under_way.add(exchange)
        exchange.add_done_callback(self._under_way.discard)

    async def _exchange(self, commands, answered):
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answered([_raw(each) for each in await pipeline.execute(raise_on_error=False)])

    async def call(self, *command):
        """Return the answer to one command, errors by the server's own words."""
        try:
            return _raw(await self._client.whole(self._redis.execute_command(*command)))
        except NoScriptError as error:
            raise ResponseError(f"NOSCRIPT {error}") from error

    async def calls(self, *commands):
        """Return the answers to ``commands``, one behind the other."""
        return [await self.call(*each) for each in commands]

    def lose(self):
        """Have nothing to lose."""

    async def close(self):
        """Wait for what was asked."""
        await asyncio.gather(*self._under_way)


def _raw(answer):
    """Return an answer as the server says it: the library makes pairs and mappings of some."""
    match answer:
        case dict():
            return [part for pair in answer.items() for part in pair]
        case list() | tuple():
            return [_raw(each) for each in answer]
        case _:
            return answer


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Gives the running server of a program; each is started once."""
    with contextlib.ExitStack() as stack:
        running = {}

        def of(program):
            if program not in running:
                folder = tmp_path_factory.mktemp("redis")
                running[program] = stack.enter_context(redis_server(folder, program()))
            return running[program]

        yield of


@pytest.fixture
def patient(monkeypatch):
    """Gives Redis time where a test takes none from it: a machine may stand still for seconds."""
    monkeypatch.setattr("bridge.redis_client.ANSWER_S", 30.0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["fakeredis", *SERVERS])
async def nodes(request, servers, patient):  # noqa: ARG001
    """Makes the stores of nodes that share one Redis."""
    client = _fake() if request.param == "fakeredis" else _real(servers(request.param))
    prefix, stores, lives = next(PREFIXES), [], []

    async def make(node_id, **given):
        times = {"lease_s": LEASE_S, "turn_s": 60.0, "window_s": WINDOW_S, **given}
        store = RedisStore(client(), node_id, prefix=prefix, **times)
        await store.start()
        stores.append(store)
        await store.beat()
        lives.append(asyncio.create_task(live(store)))
        return store

    async def rest():
        """Let no node beat any more, by itself."""
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        for store in stores:
            await asyncio.gather(*store._redis._asking, return_exceptions=True)

    make.client, make.prefix, make.rest = client, prefix, rest
    yield make
    await rest()
    for store in stores:
        await store.close()


async def live(store):
    """Beat as a node does."""
    while True:
        with contextlib.suppress(StoreUnavailable):
            await store.beat()
        await asyncio.sleep(LEASE_S / 6)


def _fake():
    server = fakeredis.FakeServer()
    return lambda: FakeClient(server)


def _real(server):
    return lambda: RedisClient(server.url)


@pytest.fixture(params=["memory", "fakeredis", *SERVERS])
async def journal(request, clock, servers, patient):  # noqa: ARG001
    """Give a journal of each make."""
    if request.param == "memory":
        yield MemoryJournal(clock, window_s=WINDOW_S)
        return
    async with _alone(request.param, servers) as store:
        yield store


@pytest.fixture(params=["memory", "fakeredis", *SERVERS])
async def inbox(request, servers, patient):  # noqa: ARG001
    """Give the inbox of a node that is alone, of each make."""
    if request.param == "memory":
        yield MemoryInbox()
        return
    async with _alone(request.param, servers) as store:
        yield store


@contextlib.asynccontextmanager
async def _alone(made, servers):
    client = _fake() if made == "fakeredis" else _real(servers(made))
    times = {"lease_s": LEASE_S, "turn_s": 60.0, "window_s": WINDOW_S}
    store = RedisStore(client(), "one", prefix=next(PREFIXES), **times)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


class Flags:
    """Makes the flags of nodes that share one Redis, and closes them."""

    def __init__(self, client):
        self.client = client
        self.prefix = next(PREFIXES)
        self.opened = []
        self.others = []

    async def make(self, default="off", *, start=True):
        heard = []
        client = self.client()
        flag = RedisFlag(client, Rollout(default), heard.append, prefix=self.prefix)
        flag.heard = heard
        self.opened.append((flag, client))
        if start:
            await flag.start()
        return flag

    @property
    def commands(self):
        """A Redis of the test's own, to plant what nodes find."""
        client = self.client()
        self.others.append(client)
        return client.commands

    async def close(self):
        await asyncio.gather(*(flag.close() for flag, _ in self.opened))
        await asyncio.gather(*(client.close() for _, client in self.opened))
        await asyncio.gather(*(client.close() for client in self.others))


@pytest.fixture
async def flags_of():
    """Makes `Flags`, and closes them."""
    made = []

    def make(client):
        made.append(Flags(client))
        return made[-1]

    yield make
    for flags in made:
        await flags.close()


@pytest.fixture(params=["fakeredis", *SERVERS])
def flags(request, servers, flags_of, patient):  # noqa: ARG001
    return flags_of(_fake() if request.param == "fakeredis" else _real(servers(request.param)))


@pytest.fixture(params=["memory", "fakeredis", *SERVERS])
async def flag(request, servers, flags_of, patient):  # noqa: ARG001
    """Give a flag of each make."""
    if request.param == "memory":
        stamps = itertools.count()
        heard = []
        flag = MemoryFlag(Rollout("off"), lambda: f"2026-01-01T00:00:00.{next(stamps):03}Z", heard.append)
        flag.heard = heard
        yield flag
        return
    client = _fake() if request.param == "fakeredis" else _real(servers(request.param))
    yield await flags_of(client).make()


class Tallies:
    """Makes the tallies of nodes that share one Redis, and closes their connections."""

    def __init__(self, client):
        self._client = client
        self.prefix = next(PREFIXES)
        self.clients = []

    def make(self, node_id, window_s=60.0):
        self.clients.append(self._client())
        return RedisTally(self.clients[-1], node_id, window_s=window_s, prefix=self.prefix)

    async def close(self):
        for client in self.clients:
            await client.close()


@pytest.fixture(params=["fakeredis", *SERVERS])
async def tallies(request, servers, patient):  # noqa: ARG001
    made = Tallies(_fake() if request.param == "fakeredis" else _real(servers(request.param)))
    yield made
    await made.close()


@pytest.fixture(params=["memory", "fakeredis", *SERVERS])
async def tally_of(request, servers, patient):  # noqa: ARG001
    """Makes the tally of a node that is alone, of each make."""
    if request.param == "memory":
        yield lambda window_s: MemoryTally(time.monotonic, window_s=window_s)
        return
    made = Tallies(_fake() if request.param == "fakeredis" else _real(servers(request.param)))
    yield lambda window_s: made.make("one", window_s)
    await made.close()
