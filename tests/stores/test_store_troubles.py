"""The Redis store on a real server, one fault at a time: what each would cost is in the test's name."""

import asyncio
import contextlib
import signal
import time

import pytest
from one_batch_turn import say
from redis_server import SERVERS, redis_server
from test_journal_contract import claim
from test_shared_store import batches, letters, no_more

from bridge.errors import SettingsError, StoreUnavailable
from bridge.letters import Anew, Batch, Lost, Ordered, Said
from bridge.messages import MessageEnd, MessageStart, NewMessage
from bridge.ports import Claimed, Entered, Kept, Taken
from bridge.redis_client import ANSWER_S, RedisClient
from bridge.stores.redis import RedisStore
from bridge.transcript import Transcript

IDS = ("r-1", "room", "m-1")
LONG_AGO_MS = 1
USER = [NewMessage("r", "room", "u", "user", "hi", "now")]


@pytest.fixture
def in_time():
    """Has a test whose server is not to answer in time begin with the deadline that the bridge has."""


@pytest.fixture(params=SERVERS)
async def own(request, tmp_path):
    """Makes stores on a server that this test may hurt."""
    if "in_time" not in request.fixturenames:
        request.getfixturevalue("patient")
    with redis_server(tmp_path, request.param()) as server:
        stores = []

        async def make(node_id, **given):
            times = {"lease_s": 30.0, "turn_s": 60.0, "window_s": 600.0, **given}
            store = RedisStore(RedisClient(server.url), node_id, **times)
            stores.append(store)
            await store.start()
            await store.beat()
            return store

        patient = RedisClient(f"{server.url}?socket_timeout=30")
        make.server, make.redis = server, patient.commands
        yield make
        await patient.close()
        for store in stores:
            await store.close()


@contextlib.contextmanager
def asleep(server):
    """Redis answers nothing; what it is sent meanwhile is done afterwards."""
    server.send(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send(signal.SIGCONT)


async def test_an_inbox_has_its_ttl_before_its_node_beats_again(own):
    one, two = await own("one"), await own("two")
    await two.enter("room")
    await one.claim(claim())
    await one.append("t-1", 1, batches(1)[0])
    assert await own.redis.pttl("bridge:inbox:two") > 0


async def test_to_enter_a_room_does_not_hide_that_the_node_was_taken_for_dead(own):
    one, two = await own("one"), await own("two")
    await two.enter("room")
    await own.redis.delete("bridge:node:two")
    await say(one, "room", USER)
    await two.enter("other")
    assert not await two.beat()
    assert await two.beat()


@pytest.mark.usefixtures("in_time")
async def test_a_node_learns_that_it_was_taken_for_dead_though_the_answer_was_lost(own):
    one = await own("one")
    await own.redis.delete("bridge:node:one")
    with asleep(own.server), pytest.raises(StoreUnavailable):
        await one.beat()
    assert not await one.beat()


async def test_a_room_that_is_held_for_long_stays_held_and_a_lost_one_is_missed(own):
    one = await own("one")
    await one.enter("room")
    await own.redis.pexpire('bridge:nodes:"room"', 5000)
    assert await one.beat()
    assert await own.redis.pttl('bridge:nodes:"room"') > 5000
    await own.redis.delete('bridge:nodes:"room"')
    assert not await one.beat()


@pytest.mark.usefixtures("in_time")
async def test_who_stood_still_while_it_asked_is_answered_all_the_same(own, monkeypatch):
    one = await own("one")
    monkeypatch.setattr("bridge.redis_client.AWAKE_S", 30.0)  # a machine may stand still for longer
    asking = asyncio.create_task(one.claim(claim()))
    await asyncio.sleep(0)
    time.sleep(1.5 * ANSWER_S)  # noqa: ASYNC251  (the whole process stands still)
    assert await asking == Claimed()


@pytest.mark.usefixtures("in_time")
async def test_no_question_takes_longer_than_its_deadline(own):
    one = await own("one")
    with asleep(own.server), pytest.raises(StoreUnavailable):
        async with asyncio.timeout(60):
            await one.claim(claim())


async def test_as_many_may_ask_at_once_as_want_to_over_few_connections(own):
    one = await own("one")
    found = await asyncio.gather(*(one.claim(claim(f"t-{n}", request_id=n, limit=999)) for n in range(100)))
    assert len(found) == 100
    assert (await own.redis.info("clients"))["connected_clients"] <= 40


@pytest.mark.usefixtures("in_time")
async def test_a_storm_of_questions_leaves_no_work_to_a_server_that_did_not_answer_in_time(own, monkeypatch):
    monkeypatch.setattr("bridge.redis_client.CALLED_AT_ONCE", 8)
    one = await own("one")
    await one.claim(claim("t-0"))
    before = await called(own.redis)
    with asleep(own.server):
        storm = (one.claim(claim(f"t-{n}", request_id=n, limit=999)) for n in range(1, 600))
        found = await asyncio.gather(*storm, return_exceptions=True)
    assert {type(each) for each in found} == {StoreUnavailable}
    assert await called(own.redis) - before <= 8


async def called(redis):
    """Return how many scripts were called."""
    return (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]


async def test_a_batch_that_can_never_be_kept_holds_up_no_other_turn(own):
    one = await own("one")
    await one.claim(claim("t-1"))
    await one.claim(claim("t-2", request_id="r-2"))
    await own.redis.set("bridge:journal:t-1", "not a stream")
    bad, good = (one.append(turn, 1, batches(1)[0]) for turn in ("t-1", "t-2"))
    async with asyncio.timeout(60):
        assert (await good).kept is Kept.OK
        with pytest.raises(StoreUnavailable):
            await bad


async def test_a_position_of_any_text_is_kept(own):
    one, two = await own("one"), await own("two")
    await one.claim(claim())
    async with asyncio.timeout(60):
        assert (await one.append("t-1", 1, Batch(1, [], position="\ud800"))).kept is Kept.OK
    await one.release("t-1", 1)
    await two.beat()
    (taken,) = await two.overdue()
    assert taken.position == "\ud800"


async def test_out_of_memory_holds_up_and_loses_nothing(own):
    one = await own("one")
    await one.claim(claim())
    own.server.command("CONFIG", "SET", "maxmemory", "1")
    waiting = [one.append("t-1", 1, batch) for batch in batches(5)]
    await asyncio.sleep(0.3)
    assert not any(kept.done() for kept in waiting)
    own.server.command("CONFIG", "SET", "maxmemory", "0")
    async with asyncio.timeout(60):
        assert {(await kept).kept for kept in waiting} == {Kept.OK}


async def test_who_waits_for_a_batch_is_told_that_the_store_was_closed(own):
    one = await own("one")
    await one.claim(claim())
    own.server.kill()
    kept = one.append("t-1", 1, batches(1)[0])
    await one.close()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(kept, 60)


async def test_an_inbox_cut_beyond_what_was_read_says_so_and_goes_on(own):
    one, two = await own("one"), await own("two")
    await two.enter("room")
    heard = two.letters()
    said = await say(one, "room", USER)
    assert await anext(heard) == said
    said = [await say(one, "room", USER) for _ in range(30)]
    await own.redis.xtrim("bridge:inbox:two", maxlen=5, approximate=False)
    async with asyncio.timeout(60):
        assert [await anext(heard) for _ in range(6)] == [Lost(), *said[-5:]]


async def test_an_inbox_that_stepped_back_is_read_again(own):
    one, two = await own("one"), await own("two")
    await two.enter("room")
    heard = two.letters()
    for _ in range(5):
        await say(one, "room", USER)
        await anext(heard)
    await own.redis.delete("bridge:inbox:two")  # as a replica that lagged behind knows it
    await own.redis.hincrby("bridge:node:two", "letters", -3)
    async with asyncio.timeout(60):
        assert await anext(heard) == Lost()
        said = await say(one, "room", USER)
        assert await anext(heard) == said


async def test_a_second_reader_goes_on_where_the_first_stood(own):
    one, two = await own("one"), await own("two")
    await two.enter("room")
    said = await say(one, "room", USER)
    assert await letters(two, 1) == [said]
    assert await letters(two, 1, within_s=0.3) == []


async def test_a_turn_kept_anew_has_its_answer_s_name_and_its_stop(own):
    one = await own("one")
    await one.claim(claim())
    await own.redis.flushall()
    taken = Taken(1, claim(), Transcript("t-1", "r-1"), "", stop=True)
    assert await one.restore(taken, Batch(1, [MessageStart(*IDS)])) is Kept.OK
    assert await one.find("room", message_id="m-1") == "t-1"
    assert (await one.append("t-1", 1, batches(2)[1])).stop


async def test_an_end_kept_anew_leaves_its_place_in_the_room(own):
    one = await own("one")
    await one.claim(claim(limit=1))
    assert (await one.append("t-1", 1, Batch(3, [], ended=True))).kept is Kept.GAP  # a replica that lagged
    taken = Taken(1, claim(), Transcript("t-1", "r-1"), "", stop=False)
    assert await one.restore(taken, Batch(3, [MessageStart(*IDS)], ended=True)) is Kept.OK
    assert await one.claim(claim("t-2", request_id="r-2", limit=1)) == Claimed()
    assert await one.overdue() == []


async def test_an_end_kept_anew_is_not_silent_for_who_entered_before(own):
    one, two = await own("one"), await own("two")
    await own.redis.flushall()
    await two.beat()
    assert await two.enter("room") == Entered([])
    taken = Taken(1, claim(), Transcript("t-1", "r-1"), "", stop=False)
    end = Batch(2, [MessageStart(*IDS), MessageEnd(*IDS, "", "stop")], ended=True)
    await one.restore(taken, end)
    assert await letters(two, 1) == [Anew("t-1", "room")]


async def test_a_request_is_not_found_by_an_answer_s_name(own):
    one = await own("one")
    await one.claim(claim(request_id="m-1"))
    assert await one.find("room", message_id="m-1") is None


async def test_a_turn_is_given_away_though_the_answer_was_lost(own):
    one = await own("one")
    await one.claim(claim())
    assert await one.release("t-1", 1)
    assert await one.release("t-1", 1)


async def test_a_cancelled_question_is_cancelled(own):
    one = await own("one")

    async def ask():
        while True:
            await one.find("room", request_id="r-1")

    for _ in range(50):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.005)
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=60)
        assert done


async def test_appends_survive_that_all_connections_are_killed_five_times(own):
    one, two = await own("one"), await own("two")
    await one.claim(claim())
    await two.enter("room")
    hearing = asyncio.create_task(letters(two, 200, within_s=60))
    waiting = []
    for batch in batches(200):
        waiting.append(one.append("t-1", 1, batch))
        if batch.number % 35 == 0:
            own.server.command("CLIENT", "KILL", "TYPE", "normal")
        await asyncio.sleep(0.002)
    assert {(await kept).kept for kept in waiting} <= {Kept.OK, Kept.DUPLICATE}
    assert [each.batch.number for each in await hearing if isinstance(each, Said)] == list(range(1, 201))


async def test_a_node_that_took_its_own_turn_again_is_fenced_in_its_earlier_epoch(own):
    one = await own("one")
    await one.claim(claim())
    await one.release("t-1", 1)
    await one.beat()
    (taken,) = await one.overdue()
    assert taken.epoch == 2
    assert (await one.append("t-1", 1, batches(1)[0])).kept is Kept.FENCED
    assert (await one.append("t-1", 2, batches(1)[0])).kept is Kept.OK


async def test_each_entry_and_what_follows_it_is_whole(own):
    """Enters at 25 instants of a turn, each time as a node of its own."""
    one = await own("one")
    await one.claim(claim())
    waiting = []

    async def say():
        for batch in batches(200):
            waiting.append(one.append("t-1", 1, batch))
            await asyncio.sleep(0.004)

    saying, found = asyncio.create_task(say()), []
    for number in range(25):
        node = await own(f"n-{number}")
        found.append((node, (await node.enter("room")).running))
    await saying
    await asyncio.gather(*waiting)
    for node, running in found:
        mine = running[0] if running else Transcript("t-1", "r-1")
        for letter in await letters(node, 200 - mine.number) if mine.number < 200 else ():
            mine.take(letter.batch.number, letter.batch.messages)
        assert mine.number == 200


async def test_after_a_failover_that_lost_letters_the_next_one_says_so(own):
    one, two = await own("one"), await own("two")
    await two.enter("room")
    heard = two.letters()
    for _ in range(5):
        await say(one, "room", USER)
        await anext(heard)
    await own.redis.hincrby("bridge:node:two", "letters", -3)
    said = await say(one, "room", USER)
    async with asyncio.timeout(60):
        assert [await anext(heard), await anext(heard)] == [Lost(), said]


async def test_a_poisoned_inbox_costs_its_node_a_repair_and_others_nothing(own):
    one, two, three = await own("one"), await own("two"), await own("three")
    await two.enter("room")
    await three.enter("room")
    heard = two.letters()
    said = await say(one, "room", USER)
    assert await anext(heard) == said
    await own.redis.set("bridge:inbox:two", "no stream")
    await one.claim(claim())
    for batch in batches(2):
        assert (await one.append("t-1", 1, batch)).kept is Kept.OK
    async with asyncio.timeout(60):
        assert [await anext(heard), (await anext(heard)).batch.number] == [Lost(), 2]
    assert [letter.batch.number for letter in (await letters(three, 3))[1:]] == [1, 2]


async def overdue_beside(own):
    """Return a node that was in touch for long, beside a turn whose lease has expired."""
    one, two = await own("one", lease_s=60.0), await own("two", lease_s=60.0)
    two._in_touch_since_ms = LONG_AGO_MS
    await one.claim(claim())
    await own.redis.zadd("bridge:leases", {"t-1": LONG_AGO_MS}, xx=True)
    return two


async def test_a_node_that_was_only_busy_takes_over_with_its_next_beat(own):
    two = await overdue_beside(own)
    two._beaten_at_ms = LONG_AGO_MS
    assert await two.overdue() == []
    await two.beat()
    assert await two.overdue()


async def unanswered(server, store):
    with asleep(server), pytest.raises(StoreUnavailable):
        await store.beat()


async def answered_late(server, store):  # noqa: ARG001
    store._touch(store._beaten_at_ms, waited_s=31.0)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("outage", [unanswered, answered_late])
async def test_a_node_that_redis_did_not_answer_gives_the_owners_a_lease_to_come_back(own, outage):
    two = await overdue_beside(own)
    await outage(own.server, two)
    await two.beat()
    assert await two.overdue() == []
    two._in_touch_since_ms = LONG_AGO_MS  # that lease is over
    assert await two.overdue()


async def live(store):
    while True:
        with contextlib.suppress(StoreUnavailable):
            await store.beat()
        await asyncio.sleep(0.5)


def kill_connections(server):
    server.command("CLIENT", "KILL", "TYPE", "normal")


def keep_all(server):
    server.command("CONFIG", "SET", "appendfsync", "always")  # else a kill may cost what was being flushed


def restart(server):
    server.kill()
    server.start()
    keep_all(server)


def pause(server):
    server.command("CLIENT", "PAUSE", "1500")


def forget_scripts(server):
    server.command("SCRIPT", "FLUSH")


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("trouble", [kill_connections, restart, pause, forget_scripts])
async def test_trouble_loses_nothing_and_says_nothing_twice(own, trouble):
    keep_all(own.server)
    one, two = await own("one"), await own("two")
    assert await one.claim(claim()) == Claimed()
    await two.enter("room")
    hearing = asyncio.create_task(letters(two, 200, within_s=60))
    living = asyncio.create_task(live(two))
    waiting = []
    for batch in batches(200):
        waiting.append(one.append("t-1", 1, batch))
        if batch.number in (60, 120):
            await asyncio.to_thread(trouble, own.server)
        await asyncio.sleep(0.002)
    assert {(await kept).kept for kept in waiting} <= {Kept.OK, Kept.DUPLICATE}
    said_to_two = [letter for letter in await hearing if isinstance(letter, Said)]
    assert [letter.batch.number for letter in said_to_two] == list(range(1, 201))
    assert (await one.read("t-1")).number == 200
    living.cancel()


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("trouble", [kill_connections, restart, pause, forget_scripts])
async def test_trouble_loses_no_order_and_repeats_none(own, trouble):
    keep_all(own.server)
    one, two = await own("one"), await own("two")
    hearing = asyncio.create_task(letters(two, 200, within_s=60))
    living = asyncio.create_task(live(two))
    for number in range(200):
        one.order(str(number))
        if number in (60, 120):
            await asyncio.to_thread(trouble, own.server)
        await asyncio.sleep(0.002)
    assert await hearing == [Ordered("one", str(number)) for number in range(200)]
    living.cancel()


@pytest.mark.usefixtures("in_time")
async def test_an_order_that_redis_was_too_late_to_answer_is_put_once(own):
    one, two = await own("one"), await own("two")
    with asleep(own.server):
        for number in range(3):
            one.order(str(number))
        await asyncio.sleep(2 * ANSWER_S)
    assert await no_more(two, 3) == [Ordered("one", str(number)) for number in range(3)]


async def test_orders_that_redis_will_never_take_are_counted_and_forgotten(own):
    one, two = await own("one"), await own("two")
    await own.redis.lpush("bridge:ordered:one", "no number")
    one.order("1")
    async with asyncio.timeout(60):
        while not one._outbox.refused:
            await asyncio.sleep(0.01)
    await own.redis.delete("bridge:ordered:one")
    one.order("2")
    assert await letters(two, 1) == [Ordered("one", "2")]


async def test_a_server_that_would_delete_journals_is_refused_with_the_cure(own):
    own.server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(SettingsError, match="CONFIG SET maxmemory-policy noeviction"):
        await own("one")


@pytest.mark.usefixtures("in_time")
async def test_a_server_that_is_not_there_is_unavailable_soon(own):
    one = await own("one")
    own.server.kill()
    async with asyncio.timeout(60):
        with pytest.raises(StoreUnavailable):
            await one.claim(claim())
    own.server.start()
    assert await one.claim(claim()) == Claimed()
