"""What nodes that share a Redis can rely on: one owner, one truth, nothing lost between two of them."""

import asyncio
import contextlib
import dataclasses
import random
import time

import pytest
from one_batch_turn import say
from test_journal_contract import claim, said

from bridge import codec
from bridge.errors import StoreUnavailable
from bridge.group_commit import SENT_EARLY
from bridge.letters import Batch, Lost, Ordered, Said, StopWanted
from bridge.messages import MessageChunk, MessageStart, NewMessage
from bridge.ports import Claimed, Entered, Kept, Taken
from bridge.stores.redis import FIRST_WORDS
from bridge.transcript import Applied, Transcript

IDS = ("r-1", "room", "m-1")
LEASE_S = 0.3
"""That of a node, unless another is given."""
FOR_EVER = -1
"""What PTTL says of a key that never expires."""


def batches(count, start=1):
    """The start, then one chunk a batch."""
    first = [Batch(1, [MessageStart(*IDS)])] if start == 1 else []
    chunks = range(max(start, 2), count + 1)
    return [*first, *(Batch(n, [MessageChunk(*IDS, n - 1, f"{n} ")], position=str(n)) for n in chunks)]


async def letters(store, count, within_s=60):
    """Return the next ``count``, or as many as come."""
    found = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            async for letter in store.letters():
                found.append(letter)
                if len(found) == count:
                    break
    return found


async def no_more(store, count):
    """Return the next ``count``, and what should not come behind them."""
    return await letters(store, count) + await letters(store, 1, within_s=0.3)


async def rests(heard):
    """Return whether a reader that is under way gives nothing for a moment; it is of no more use then."""
    later = asyncio.ensure_future(anext(heard))
    done, _ = await asyncio.wait({later}, timeout=0.3)
    later.cancel()
    await asyncio.gather(later, return_exceptions=True)
    return not done


async def test_what_a_node_appends_reaches_the_others_of_the_room_once_and_not_itself(nodes):
    one, two, three = await nodes("one"), await nodes("two"), await nodes("three")
    await one.claim(claim())
    for store in (one, two, three):
        await store.enter("room")
    await three.leave("room")
    for batch in batches(5):
        assert (await one.append("t-1", 1, batch)).kept is Kept.OK
        await one.append("t-1", 1, batch)  # a repeat, as after a lost answer
    heard = await no_more(two, 5)
    assert heard == [Said("t-1", "room", Batch(b.number, b.messages)) for b in batches(5)]
    assert await letters(one, 1, within_s=0.2) == await letters(three, 1, within_s=0.2) == []


async def test_what_a_user_says_is_heard_too_and_ids_keep_their_type(nodes):
    one, two = await nodes("one"), await nodes("two")
    await two.enter(42)
    user = NewMessage("r", 42, "u", "user", "안녕 😀", "now", {"mood": [1]})
    said = await say(one, 42, [user])
    await say(one, "42", [user])
    assert [(each.room_id, each.batch.messages) for each in await no_more(two, 1)] == [
        (said.room_id, said.batch.messages)
    ]


async def test_who_enters_in_mid_turn_has_all_of_it(nodes):
    one = await nodes("one")
    await one.claim(claim())
    two = await nodes("two")
    chance = random.Random(5)
    enters_at = {chance.randrange(200) for _ in range(20)}
    found = []
    for number, batch in enumerate(batches(200)):
        kept = one.append("t-1", 1, batch)
        if number in enters_at:
            found.append((await two.enter("room")).running)
            await two.leave("room") if len(found) < len(enters_at) else None
        await kept
    (mine,) = found[-1]
    async with asyncio.timeout(60):
        async for letter in two.letters():
            applied = mine.take(letter.batch.number, letter.batch.messages)
            assert applied is not Applied.GAP or letter.batch.number < mine.number
            if mine.number == 200:
                break
    assert mine.text == (await one.read("t-1")).text


async def taken_over(store):
    """Ask as a node does, at every beat."""
    async with asyncio.timeout(60):
        while not (found := await store.overdue()):
            await asyncio.sleep(0.05)
    return found


async def test_a_turn_whose_lease_expired_has_another_owner_and_the_old_one_is_fenced(nodes):
    one, two = await nodes("one", lease_s=60.0), await nodes("two")
    await one.claim(claim())
    for batch in batches(3):
        await one.append("t-1", 1, batch)
    assert await two.overdue() == []
    await (await nodes("one")).renew({"t-1": 1})  # with a lease that expires at once
    (taken,) = await taken_over(two)
    assert (taken.epoch, taken.position, taken.transcript.text) == (2, "3", "2 3 ")
    assert (taken.claim.prompt, taken.claim.trace) == (claim().prompt, "")
    assert (taken.claim.streaming, taken.claim.digest, taken.transcript.number) == (True, "d", 3)
    assert (await one.append("t-1", 1, batches(4)[-1])).kept is Kept.FENCED
    assert (await two.append("t-1", 2, batches(4)[-1])).kept is Kept.OK


async def test_who_takes_a_turn_over_knows_its_trace_and_none_of_its_headers(nodes):
    one, two = await nodes("one"), await nodes("two")
    named = dataclasses.replace(claim(), trace=f"00-{'a' * 32}-{'b' * 16}-01")
    secret = dataclasses.replace(
        named, prompt=dataclasses.replace(named.prompt, headers={"authorization": "Bearer canary"})
    )
    await one.claim(secret)
    (taken,) = await taken_over(two)
    assert taken.claim.trace == named.trace
    assert taken.claim.prompt == named.prompt


async def test_a_lease_that_is_renewed_does_not_expire(nodes):
    brief, one, two = await nodes("one"), await nodes("one", lease_s=60.0), await nodes("two")
    await brief.claim(claim())
    await one.renew({"t-1": 1})
    await two.renew({"t-1": 1})  # not its own: nothing
    await asyncio.sleep(3 * LEASE_S)
    assert await two.overdue() == []


async def test_a_turn_that_is_given_away_can_be_taken_at_once(nodes):
    one, two = await nodes("one", lease_s=60.0), await nodes("two")
    await one.claim(claim())
    assert await one.release("t-1", 1)
    assert (await one.append("t-1", 1, batches(1)[0])).kept is Kept.FENCED
    await two.beat()
    (taken,) = await two.overdue()
    assert taken.epoch == 2
    assert not await one.release("t-1", 1)


async def test_a_takeover_knows_who_announces_the_turn_and_has_no_secrets_of_its_asker(nodes):
    one, two = await nodes("one", lease_s=60.0), await nodes("two")
    asked = dataclasses.replace(claim().prompt, headers={"authorization": "Bearer secret"})
    await one.claim(dataclasses.replace(claim(), prompt=asked, announced_elsewhere=True))
    client = nodes.client()
    kept = await client.commands.hgetall(f"{nodes.prefix}turn:t-1")
    await client.close()
    assert not any(b"secret" in value for value in kept.values())
    await one.release("t-1", 1)
    await two.beat()
    (taken,) = await two.overdue()
    assert taken.claim.announced_elsewhere
    assert (taken.claim.prompt, taken.claim.trace) == (claim().prompt, "")


async def test_a_stop_reaches_the_owner_and_comes_back_with_its_next_batch(nodes):
    one, two = await nodes("one"), await nodes("two")
    await one.claim(claim())
    assert await two.stop("t-1")
    assert await letters(one, 1) == [StopWanted("t-1")]
    assert (await one.append("t-1", 1, batches(1)[0])).stop


async def test_a_turn_that_redis_lost_is_kept_anew(nodes):
    one, two = await nodes("one"), await nodes("two")
    await one.claim(claim())
    for batch in batches(3):
        await one.append("t-1", 1, batch)
    client = nodes.client()
    await client.commands.flushall()
    assert (await one.append("t-1", 1, batches(4)[-1])).kept is Kept.GONE
    messages = [message for batch in batches(4) for message in batch.messages]
    taken = Taken(1, claim(), Transcript("t-1", "r-1"), "4", stop=False)
    assert await one.restore(taken, Batch(4, messages, position="4")) is Kept.OK
    assert await two.restore(taken, Batch(4, messages)) is Kept.FENCED
    assert (await one.append("t-1", 1, batches(5)[-1])).kept is Kept.OK
    again = await two.read("t-1")
    assert (again.text, again.number) == ("2 3 4 5 ", 5)
    (running,) = (await two.enter("room")).running
    assert running.text == "2 3 4 5 "
    await client.close()


async def test_a_node_that_was_taken_for_dead_is_told_so_and_its_inbox_stays_dead(nodes):
    one, two = await nodes("one"), await nodes("two")
    await one.claim(claim())
    await two.enter("room")
    await nodes.rest()
    client = nodes.client()
    await client.commands.delete(f"{nodes.prefix}node:two", f"{nodes.prefix}inbox:two")
    await one.append("t-1", 1, batches(1)[0])
    assert not await client.commands.exists(f"{nodes.prefix}inbox:two")
    assert not await two.beat()
    assert await two.beat()
    await client.close()


async def test_an_inbox_that_is_gone_or_was_cut_says_that_letters_are_lost(nodes):
    one, two = await nodes("one"), await nodes("two")
    await two.enter("room")
    client = nodes.client()
    heard = two.letters()
    async with asyncio.timeout(60):
        await say(one, "room", [NewMessage("r", "room", "u", "user", "1", "now")])
        assert isinstance(await anext(heard), Said)
        await client.commands.flushall()
        assert isinstance(await anext(heard), Lost)
        await two.enter("room")
        await say(one, "room", [NewMessage("r", "room", "u", "user", "2", "now")])
        assert (await anext(heard)).batch.messages[0].content == "2"
    await client.close()


async def test_an_order_reaches_every_other_living_node_in_order_or_one_alone(nodes):
    one, two, three = await nodes("one"), await nodes("two"), await nodes("three")
    for number in range(150):
        one.order(str(number))
    one.order("to three", "three")
    two.order("from two")
    orders = [Ordered("one", str(number)) for number in range(150)]
    heard = {store: await no_more(store, count) for store, count in ((one, 1), (two, 150), (three, 152))}
    assert heard[one] == [Ordered("two", "from two")]
    assert heard[two] == orders
    of_one = [letter for letter in heard[three] if letter.sender == "one"]
    assert of_one == [*orders, Ordered("one", "to three")]
    assert len(heard[three]) == len(of_one) + 1


async def test_an_order_whose_answer_got_lost_is_put_once(nodes):
    one, two = await nodes("one"), await nodes("two")
    plain, lost = one._redis.run, []

    async def answers_get_lost(script, *arguments):
        answer = await plain(script, *arguments)
        if script == "order" and len(lost) < 3:
            lost.append(answer)
            raise StoreUnavailable("unable to ask; the answer got lost")
        return answer

    one._redis.run = answers_get_lost
    for number in range(5):
        one.order(str(number))
    heard = await letters(two, 5)
    async with asyncio.timeout(60):
        while len(lost) < 3:
            await asyncio.sleep(0.01)
    assert [letter.order for letter in [*heard, *await letters(two, 1, within_s=0.3)]] == list("01234")


async def test_an_order_to_a_node_that_is_dead_does_not_raise_its_inbox(nodes):
    one, two = await nodes("one"), await nodes("two")
    client = nodes.client()
    await client.commands.sadd(f"{nodes.prefix}nodes:", "dead")
    one.order("1")
    one.order("2", "dead")
    one.order("3")
    assert [letter.order for letter in await letters(two, 2)] == ["1", "3"]
    assert not await client.commands.exists(f"{nodes.prefix}inbox:dead")
    assert await client.commands.smembers(f"{nodes.prefix}nodes:") == {b"one", b"two"}
    await client.close()


async def test_what_comes_behind_a_letter_waits_for_the_next_read_and_behind_an_echo_it_does_not(
    nodes, monkeypatch
):
    monkeypatch.setattr("bridge.inbox_reader.READS_APART_S", 60.0)
    one, two = await nodes("one"), await nodes("two")
    began_at_s, heard = time.monotonic(), two.letters()
    first = asyncio.ensure_future(anext(heard))
    async with asyncio.timeout(10):
        await two.beat()
        while two._reader.read_at_s < began_at_s:
            await asyncio.sleep(0.01)  # nothing else tells that its echo was read
        one.order("1")
        assert await first == Ordered("one", "1")
    one.order("2")
    assert await rests(heard)


async def test_what_comes_behind_several_letters_of_one_read_waits_longer_than_behind_one(nodes, monkeypatch):
    monkeypatch.setattr("bridge.inbox_reader.READS_APART_S", 0.001)
    monkeypatch.setattr("bridge.inbox_reader.BUSY_APART_S", 60.0)
    one, two, client = await nodes("one"), await nodes("two"), nodes.client()
    heard = two.letters()
    async with asyncio.timeout(10):
        for order in ("1", "2"):
            one.order(order)
            assert (await anext(heard)).order == order
        before = await client.commands.xlen(f"{nodes.prefix}inbox:two")
        one.order("3")
        one.order("4")
        while await client.commands.xlen(f"{nodes.prefix}inbox:two") < before + 2:
            await asyncio.sleep(0.01)  # nobody reads meanwhile
        assert [(await anext(heard)).order for _ in range(2)] == ["3", "4"]
    one.order("5")
    assert await rests(heard)
    await client.close()


async def test_all_letters_of_a_read_are_decoded_before_the_first_is_heard(nodes, monkeypatch):
    one, two = await nodes("one"), await nodes("two")
    await one.claim(claim())
    await two.enter("room")
    decode, decoded = codec.decode, []

    def counted(text):
        decoded.append(text)
        return decode(text)

    monkeypatch.setattr("bridge.inbox_reader.codec.decode", counted)
    await asyncio.gather(*(one.append("t-1", 1, batch) for batch in batches(3)))
    heard = two.letters()
    assert (await anext(heard)).batch.number == 1
    assert len(decoded) == 3
    assert [(await anext(heard)).batch.number for _ in range(2)] == [2, 3]
    assert len(decoded) == 3


async def test_too_much_that_waits_for_other_nodes_is_refused(nodes, monkeypatch):
    monkeypatch.setattr("bridge.outbox.WAITING_LIMIT_BYTES", 10)
    one, two = await nodes("one"), await nodes("two")
    one.order("12345678")
    with pytest.raises(StoreUnavailable, match="too much"):
        one.order("123")
    assert len(await letters(two, 1)) == 1
    async with asyncio.timeout(60):
        await one._outbox._idle.wait()  # it hears of that later than the other node hears the order
    one.order("123")
    assert len(await letters(two, 1)) == 1


async def test_a_letter_that_cannot_be_read_is_skipped_and_counted(nodes):
    one, two = await nodes("one"), await nodes("two")
    await two.enter("room")
    client = nodes.client()
    said = {"room": "1", "turn": "t", "number": "1", "ended": "0"}
    counted = int(await client.commands.hget(f"{nodes.prefix}node:two", "letters"))
    await client.commands.delete(f"{nodes.prefix}inbox:two")  # the echo of its first beat
    for fields in (
        {"kind": "said"},
        {"letter": counted - 4, "kind": "said", "room": "1", "turn": "t"},
        {"letter": counted - 3, "kind": "said", **said, "batch": "[[1]]"},
        {"letter": counted - 2, "kind": "said", **said, "batch": "[[]]"},
        {"letter": counted - 1, "kind": "said", **said, "batch": '[["chunk","r",1,2]]'},
        {"letter": counted, "kind": "new"},
        {"x": "y"},
    ):
        await client.commands.xadd(f"{nodes.prefix}inbox:two", fields)
    await say(one, "room", [NewMessage("r", "room", "u", "user", "ok", "now")])
    (letter,) = await letters(two, 1)
    assert letter.batch.messages[0].content == "ok"
    assert two._reader.unreadable == 7
    await client.close()


async def test_every_key_has_a_ttl(nodes):
    one, two = await nodes("one"), await nodes("two")
    await two.enter("room")
    for number in range(3):
        await one.claim(claim(f"t-{number}", request_id=f"r-{number}"))
    await one.append("t-0", 1, Batch(1, said(), ended=True))
    await one.append("t-1", 1, batches(1)[0])
    one.order("order")
    assert len(await letters(two, 3)) == 3
    await two.beat()
    client = nodes.client()
    keys = [key async for key in client.commands.scan_iter(match=f"{nodes.prefix}*")]
    assert len(keys) > 12
    assert [key for key in keys if await client.commands.pttl(key) == FOR_EVER] == []
    await client.close()


async def test_what_is_taken_over_lives_as_long_as_a_turn_that_begins(nodes):
    one, two = await nodes("one", lease_s=60.0), await nodes("two")
    await one.claim(claim())
    await one.append("t-1", 1, batches(1)[0])
    client = nodes.client()
    keys = [f"{nodes.prefix}{name}" for name in ("turn:t-1", "journal:t-1", 'running:"room"')]
    for key in keys:
        await client.commands.pexpire(key, 5000)
    await one.release("t-1", 1)
    await two.beat()
    assert len(await two.overdue()) == 1
    assert all([await client.commands.pttl(key) > 5000 for key in keys])
    await client.close()


async def test_a_turn_that_speaks_on_keeps_its_lease_and_its_lifetime(nodes):
    one, two = await nodes("one", lease_s=60.0), await nodes("two")
    await one.claim(claim())
    client = nodes.client()
    for batch in batches(16):
        await one.append("t-1", 1, batch)
        if batch.number == 8:
            await client.commands.zadd(f"{nodes.prefix}leases", {"t-1": 1})
            await client.commands.pexpire(f"{nodes.prefix}journal:t-1", 5000)
    await two.beat()
    assert await two.overdue() == []
    assert await client.commands.pttl(f"{nodes.prefix}journal:t-1") > 5000
    await client.close()


async def round_trips(store):
    """Return what grows with each round trip of its appends: how many commands it had, and if it gathered."""
    await store._appends._open()
    line, trips = store._appends._line, []
    plain = line.exchange

    def exchange(commands, answered, *, gather=False):
        trips.append((len(commands), gather))
        plain(commands, answered, gather=gather)

    line.exchange = exchange
    return trips


async def two_that_append(nodes):
    """Return two nodes of a room, each with a turn there, and what the first hears behind the other start."""
    one, two = await nodes("one", lease_s=30.0), await nodes("two", lease_s=30.0)
    for store, turn in ((one, "t-1"), (two, "t-2")):
        await store.enter("room")
        await store.claim(claim(turn, request_id=turn))
    heard = one.letters()
    await one.append("t-1", 1, batches(1)[0])
    await two.append("t-2", 1, batches(1)[0])
    assert (await anext(heard)).batch.number == 1
    return one, two, heard


async def test_a_node_that_appends_hears_along_with_it_what_came(nodes, monkeypatch):
    monkeypatch.setattr("bridge.inbox_reader.ALONG_S", 60.0)  # alone it would read then
    monkeypatch.setattr("bridge.inbox_reader.ALONG_APART_S", 0.0)
    one, two, heard = await two_that_append(nodes)
    later = asyncio.ensure_future(anext(heard))
    await asyncio.sleep(0)  # it waits
    await one.append("t-1", 1, batches(2)[1])  # nothing has come: the next one asks again
    await two.append("t-2", 1, batches(2)[1])
    await one.append("t-1", 1, batches(3)[2])
    async with asyncio.timeout(10):
        assert (await later).batch.number == 2


async def test_reads_that_go_along_are_apart_so_that_more_is_heard_at_once(nodes, monkeypatch):
    monkeypatch.setattr("bridge.inbox_reader.ALONG_S", 0.3)
    monkeypatch.setattr("bridge.inbox_reader.ALONG_APART_S", 60.0)
    one, two, heard = await two_that_append(nodes)
    trips = await round_trips(one)
    later = asyncio.ensure_future(anext(heard))
    await asyncio.sleep(0)
    await two.append("t-2", 1, batches(2)[1])
    trips.clear()
    await one.append("t-1", 1, batches(2)[1])
    assert trips == [(1, True)]  # the append alone
    async with asyncio.timeout(10):
        assert (await later).batch.number == 2  # read without one to go along with


async def test_what_came_along_late_is_not_heard_twice(nodes, monkeypatch):
    monkeypatch.setattr("bridge.inbox_reader.ALONG_S", 0.2)
    monkeypatch.setattr("bridge.inbox_reader.ALONG_APART_S", 0.0)
    one, two, heard = await two_that_append(nodes)
    line, late = one._appends._line, []
    plain = line.exchange

    def exchange(commands, answered, *, gather=False):
        if commands[0][0] == "XREAD":
            plain(commands, lambda answers: late.append((answered, answers)), gather=gather)
        else:
            plain(commands, answered, gather=gather)

    line.exchange = exchange
    later = asyncio.ensure_future(anext(heard))
    await asyncio.sleep(0)
    await two.append("t-2", 1, batches(2)[1])
    await one.append("t-1", 1, batches(2)[1])
    async with asyncio.timeout(10):
        assert (await later).batch.number == 2  # it read alone
    later = asyncio.ensure_future(anext(heard))
    await asyncio.sleep(0)
    assert late
    for answered, answers in late:
        answered(answers)
    await two.append("t-2", 1, batches(3)[2])
    async with asyncio.timeout(10):
        assert (await later).batch.number == 3


async def test_many_appends_share_few_round_trips(nodes, monkeypatch):
    monkeypatch.setattr("bridge.redis_client.ANSWER_S", 60.0)  # what is answered late is asked again
    one = await nodes("one", lease_s=30.0)
    trips = await round_trips(one)
    for number in range(50):
        await one.claim(claim(f"t-{number}", room=f"room-{number}", request_id=f"r-{number}"))
    waiting = [one.append(f"t-{n}", 1, batch) for batch in batches(10) for n in range(50)]
    assert {(await kept).kept for kept in waiting} == {Kept.OK}
    assert sum(commands for commands, _ in trips) == 500
    assert len(trips) <= 500 / SENT_EARLY + 1


async def test_what_many_turns_append_leaves_before_the_event_loop_has_made_its_turn(nodes):
    one = await nodes("one", lease_s=30.0)
    trips = await round_trips(one)
    await one.claim(claim())
    many = batches(SENT_EARLY + 1)
    waiting = [one.append("t-1", 1, batch) for batch in many[:SENT_EARLY]]
    assert trips == [(SENT_EARLY, False)]
    waiting.append(one.append("t-1", 1, many[SENT_EARLY]))
    assert {(await kept).kept for kept in waiting} == {Kept.OK}
    assert trips == [(SENT_EARLY, False), (1, False)]


async def test_the_first_words_of_a_turn_let_others_begin_before_they_leave(nodes):
    one = await nodes("one", lease_s=30.0)
    trips = await round_trips(one)
    await one.claim(claim())
    for batch in batches(FIRST_WORDS + 1):
        assert (await one.append("t-1", 1, batch)).kept is Kept.OK
    assert trips == [(1, True)] * FIRST_WORDS + [(1, False)]


async def test_the_first_words_of_a_turn_wait_for_no_other_and_bring_those_that_wait(nodes, monkeypatch):
    monkeypatch.setattr("bridge.group_commit.GATHER_S", 60.0)
    one = await nodes("one")
    for turn in ("t-1", "t-2"):
        await one.claim(claim(turn, room=turn, request_id=turn))
    said = batches(FIRST_WORDS + 1)
    async with asyncio.timeout(10):
        for batch in said[:FIRST_WORDS]:
            assert (await one.append("t-1", 1, batch)).kept is Kept.OK
    later = one.append("t-1", 1, said[FIRST_WORDS])
    done, _ = await asyncio.wait({later}, timeout=0.1)
    assert not done
    async with asyncio.timeout(10):
        await one.append("t-2", 1, said[0])
        assert (await later).kept is Kept.OK


async def test_the_more_nodes_live_the_longer_their_appends_gather(nodes, monkeypatch):
    monkeypatch.setattr("bridge.group_commit.GATHER_S", 0.2)
    one, client = await nodes("one"), nodes.client()
    await one.claim(claim())
    said = batches(FIRST_WORDS + 2)
    for batch in said[:FIRST_WORDS]:
        await one.append("t-1", 1, batch)
    await client.commands.sadd(f"{nodes.prefix}nodes:", "dead")
    await one.beat()
    assert one._appends.nodes == 1
    two = await nodes("two")
    await two.beat()
    await one.beat()
    assert one._appends.nodes == 2
    assert not await client.commands.sismember(f"{nodes.prefix}nodes:", "dead")
    await one.append("t-1", 1, said[FIRST_WORDS])
    sent_at_s = one._appends._sent_at_s
    await one.append("t-1", 1, said[FIRST_WORDS + 1])
    assert one._appends._sent_at_s - sent_at_s >= 0.39
    await client.close()


async def test_a_node_that_is_closed_is_none_any_more(nodes):
    one, two, client = await nodes("one"), await nodes("two"), nodes.client()
    await two.enter("room")
    two.order("farewell")
    await nodes.rest()
    await two.close()
    assert await client.commands.keys(f"{nodes.prefix}*:two") == []
    await one.beat()
    assert one._appends.nodes == 1
    assert [letter.order for letter in await letters(one, 1)] == ["farewell"]
    await client.close()


async def test_a_beat_that_saw_no_expired_lease_saves_the_question(nodes, monkeypatch):
    monkeypatch.setattr("bridge.stores.redis.FRESH_S", 60.0)
    one, two = await nodes("one", lease_s=60.0), await nodes("two")
    await one.claim(claim())
    plain, ran = two._redis.run, []
    two._redis.run = lambda script, *arguments: ran.append(script) or plain(script, *arguments)
    assert await two.beat()
    assert await two.overdue() == []
    assert ran == ["live"]
    await one.release("t-1", 1)
    assert await two.beat()
    assert len(await two.overdue()) == 1
    assert ran == ["live", "live", "overdue"]


async def test_a_node_hears_itself_now_and_then_however_often_it_beats(nodes):
    one = await nodes("one")
    client, began_at_s = nodes.client(), time.monotonic()
    for _ in range(20):
        await one.beat()
    echoes = await client.commands.xlen(f"{nodes.prefix}inbox:one")
    assert 1 <= echoes <= 2 + (time.monotonic() - began_at_s) / 0.4
    await client.close()


async def test_first_words_that_come_one_after_another_put_off_no_round_trip(nodes):
    """A burst of turns appends in each turn of the event loop, before what is due there has its turn."""
    one = await nodes("one", lease_s=30.0)
    loop, waiting, trips = asyncio.get_running_loop(), [], await round_trips(one)
    for number in range(4):
        await one.claim(claim(f"t-{number}", room=f"room-{number}", request_id=f"r-{number}"))
    over = loop.create_future()

    def burst():
        if len(waiting) == 4:
            over.set_result(len(trips))
            return
        loop.call_soon(burst)
        waiting.append(one.append(f"t-{len(waiting)}", 1, batches(1)[0]))

    burst()
    assert await over
    assert {(await kept).kept for kept in waiting} == {Kept.OK}


async def test_too_many_that_wait_are_refused(nodes, monkeypatch):
    one = await nodes("one")
    monkeypatch.setattr("bridge.group_commit.WAITING_LIMIT", 2)
    waiting = [one.append("t-1", 1, batch) for batch in batches(3)]
    with pytest.raises(StoreUnavailable):
        await waiting[2]
    await asyncio.gather(*waiting[:2])


async def test_a_request_of_another_backend_is_another_request(nodes):
    one, two = await nodes("one"), await nodes("two", backend="other")
    assert await one.claim(claim("t-1")) == Claimed()
    assert await two.claim(claim("t-2")) == Claimed()


async def test_how_long_letters_waited_is_known_by_the_time_of_redis(nodes):
    one, two = await nodes("one"), await nodes("two")
    await two.enter("room")
    assert two.inbox_lag_s == 0
    await one.claim(claim())
    await one.append("t-1", 1, batches(1)[0])
    await asyncio.sleep(0.5)
    await letters(two, 1)
    async with asyncio.timeout(60):  # a beat whose answer was read late knows the time of Redis badly
        while not 0.3 < two.inbox_lag_s < 60:
            await two.beat()


async def test_who_enters_is_told_the_names_of_what_ended_lately(nodes):
    one, two = await nodes("one"), await nodes("two")
    await one.claim(claim())
    await one.append("t-1", 1, Batch(1, said(), ended=True))
    assert await two.enter("room") == Entered([], ["t-1"])


async def test_what_is_kept_anew_with_its_end_is_told_to_who_enters_late(nodes):
    one, two = await nodes("one"), await nodes("two")
    taken = Taken(1, claim(), Transcript("t-1", "r-1"), "", stop=False)
    await one.restore(taken, Batch(3, said(), ended=True))
    assert (await two.enter("room")).ended == ["t-1"]
    kept = await two.read("t-1")
    assert (kept.number, kept.ended) == (3, True)


async def test_a_round_trip_does_not_wait_for_the_answer_to_the_one_before(nodes):
    one = await nodes("one", lease_s=30.0)
    await one._appends._open()
    line, held = one._appends._line, []
    plain, line.exchange = line.exchange, lambda *exchange, **_: held.append(exchange)
    waiting = []
    for number in (1, 2):
        await one.claim(claim(f"t-{number}", room=f"room-{number}", request_id=f"r-{number}"))
        waiting.append(one.append(f"t-{number}", 1, batches(1)[0]))
        async with asyncio.timeout(10):
            while len(held) < number:
                await asyncio.sleep(0.001)
    for exchange in held:
        plain(*exchange)
    assert [(await kept).kept for kept in waiting] == [Kept.OK, Kept.OK]
