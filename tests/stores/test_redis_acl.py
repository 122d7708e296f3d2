"""``config/redis.acl`` on every Redis that the bridge accepts: what it allows is what the bridge does."""

import asyncio
import contextlib
import re
from pathlib import Path

import pytest
from redis_server import SERVERS, redis_server
from test_journal_contract import claim, said
from test_shared_store import letters

from bridge.changes import Edit, Reason
from bridge.doors.node_servers import ear_for
from bridge.figures import Figures
from bridge.letters import Batch, Lost
from bridge.node_cluster import Channels
from bridge.ports import Appended, Claimed, Kept, Outbound, Taken
from bridge.redis_client import BLOCK_S, RedisClient
from bridge.rollout import Rollout
from bridge.stores.redis import RedisStore
from bridge.stores.redis_flag import RedisFlag
from bridge.stores.redis_tally import RedisTally
from bridge.transcript import Transcript

CONFIG = Path(__file__).resolve().parents[2] / "config"
WORDS = CONFIG.joinpath("redis.acl").read_text("utf-8").splitlines()[-1].split()
GRANTED = {word[1:].partition("|")[0] for word in WORDS if word.startswith("+")}
AT_THE_DOOR = {"auth", "hello", "select"}
"""What a connection begins with, as its client and the server's age will have it."""


class Copy(Outbound):
    def of(self, messages):
        return [("PUBLISH", "socket.io#/#room#", str(len(messages)))] if messages else []


@pytest.fixture(params=SERVERS)
def server(request, tmp_path):
    include = CONFIG.joinpath("redis.acl").read_text("utf-8").replace("user default off", "")
    tmp_path.joinpath("redis.acl").write_text(include)  # the default user is the operator of this test
    arguments = [str(CONFIG / "redis.conf"), "--include", str(tmp_path / "redis.acl")]
    with redis_server(tmp_path, request.param(), arguments) as server:
        yield server


@pytest.fixture
async def made(server):
    """Makes what asks the server as the user ``bridge``."""
    async with contextlib.AsyncExitStack() as stack:

        def client():
            return RedisClient(server.url.replace("redis://", "redis://bridge:CHANGE-ME@"))

        async def make(node_id):
            times = {"lease_s": 0.2, "turn_s": 60.0, "window_s": 600.0}
            store = RedisStore(client(), node_id, outbound=Copy(), **times)
            await store.start()
            stack.push_async_callback(store.close)
            await store.beat()
            return store

        make.client = client
        yield make


async def all_that_a_node_does(made):
    one, two = await made("one"), await made("two")
    await two.enter("room")
    assert await one.claim(claim()) == Claimed()
    assert await one.append("t-1", 1, Batch(1, said()[:2])) == Appended(Kept.OK)
    await one.renew({"t-1": 1})
    assert await one.find("room", request_id="r-1") == "t-1"
    assert await one.stop("t-1")
    one.order("to all", copies=[("PUBLISH", "socket.io-request#/#", "{}")])
    assert len(await letters(two, 2)) == 2
    await two.beat()
    assert await one.release("t-1", 1)
    async with asyncio.timeout(60):
        while not (taken := await two.overdue()):
            await two.beat()
    taken = Taken(taken[0].epoch, claim(), Transcript("t-1", "r-1"), "", stop=False)
    assert await two.restore(taken, Batch(1, said(), ended=True)) is Kept.OK
    await one.claim(claim("t-2", request_id="r-2"))
    await one.append("t-2", 1, Batch(1, said(), ended=True))
    assert (await two.enter("room")).ended == ["t-1", "t-2"]
    await two.leave("room")


async def a_lost_inbox(made, server):
    two = await made("three")
    await two.enter("room")
    await (await made("four")).claim(claim("t-3", request_id="r-3"))
    one = await made("five")
    one.order("first")
    await letters(two, 1)
    server.command("DEL", "bridge:inbox:three")
    server.command("HINCRBY", "bridge:node:three", "letters", "5")
    assert await letters(two, 1, within_s=BLOCK_S + 30) == [Lost()]


async def a_flip_of_the_flag(made):
    client = made.client()
    flag = RedisFlag(client, Rollout("off"), lambda _: None, prefix="bridge:")
    await flag.start()
    await flag.change(Edit("on"), Reason("ops"))
    assert (await flag.state()).history
    await flag.close()
    await client.close()


async def a_look_of_the_guard(made):
    client = made.client()
    tally = RedisTally(client, "one", window_s=60.0, prefix="bridge:")
    for number in (1, 2):
        sums = await tally.add("0", number, Figures({"turns": 1}))
    assert sums["turns"] == 2
    await client.close()


async def what_is_heard_of_node_servers(made):
    client, channels = made.client(), Channels("socket.io")
    ear = ear_for(client, channels, "bridge-1")
    assert not await ear.hear()
    assert await client.commands.pubsub_numsub(channels.response)
    await client.close()


async def test_it_allows_all_that_the_bridge_does_and_nothing_that_it_does_not(server, made):
    await all_that_a_node_does(made)
    await a_lost_inbox(made, server)
    await a_flip_of_the_flag(made)
    await a_look_of_the_guard(made)
    await what_is_heard_of_node_servers(made)
    operator = RedisClient(server.url)
    denied = await operator.commands.acl_log()
    stats = await operator.commands.info("commandstats")
    await operator.close()
    assert not denied, denied
    done = {re.sub(r"^cmdstat_|\|.*$", "", name) for name in stats}
    assert done >= GRANTED - AT_THE_DOOR
