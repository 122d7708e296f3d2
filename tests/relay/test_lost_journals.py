"""What becomes of turns that began, or must be kept anew, while the store could not say who owns them."""

import asyncio

import pytest
from fakes import HANG, Bench, FakeBackend, Pause, answer
from test_many_nodes import IDS, LETTERS, heard_by, many, now

from bridge.errors import StoreUnavailable
from bridge.events import Delta, Finished, Started
from bridge.letters import Anew, Batch, Lost, Said
from bridge.messages import MessageChunk, MessageEnd, MessageStart
from bridge.ports import Appended, Kept, Taken
from bridge.transcript import Transcript


def slow():
    return many(FakeBackend(answer("Hel", "lo", every_s=1)))


async def test_nodes_that_claim_one_request_apart_name_its_turn_alike():
    names = []
    for request, backend in (("r-1", "one"), ("r-1", "one"), ("r-2", "one"), ("r-1", "two")):
        bench = slow()
        bench.backend.name = backend
        device = await bench.device()
        bench.journal.down = len(names) == 1
        await bench.send(device, request)
        names += bench.relay.owned
        await bench.idle()
    assert names[0] == names[1]
    assert len(set(names)) == 3


async def test_who_claimed_alone_and_finds_another_owner_leads_its_devices_to_it():
    bench = slow()
    device = await bench.device()
    bench.journal.down, healed = True, asyncio.Event()
    bench.journal.says = Appended(Kept.GONE)
    await bench.send(device)
    (turn_id,) = bench.relay.owned
    ids = ("r-1", "room", "m-1")
    theirs = Transcript(turn_id, "r-1")
    said = [MessageStart(*ids), MessageChunk(*ids, 1, "Hello "), MessageChunk(*ids, 2, "world")]
    theirs.take(1, [*said, MessageEnd(*ids, "Hello world", "stop")])

    async def read(_):
        return theirs

    async def restore(_taken, _batch):
        if not healed.is_set():
            raise StoreUnavailable("unable to restore; down")
        return Kept.FENCED

    bench.journal.read, bench.journal.restore = read, restore
    await device.until(lambda d: d.of(MessageChunk))
    healed.set()
    await bench.idle()
    assert device.text == {"m-1": "Hello world"}
    assert device.end.content == "Hello world"
    assert not bench.facts.reports


async def test_who_slept_while_a_batch_was_on_its_way_says_nothing_before_the_journal_answered():
    bench = many(FakeBackend([Started("m-1"), Delta("Hel"), Pause(1), *map(Delta, "lo w"), Pause(0.1), HANG]))
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    bench.journal.late = True
    await asyncio.sleep(1.05)
    asyncio.get_running_loop()._jumping.jumped_s += 3.0
    await asyncio.sleep(0.7)
    assert device.text == {"m-1": "Hel"}
    for kept, *_ in bench.journal.held:
        kept.set_result(Appended(Kept.FENCED))
    await bench.idle()
    assert device.text == {"m-1": "Hel"}
    assert bench.backend.open == 0


async def test_who_slept_and_finds_no_store_speaks_on_after_a_while():
    bench = many(FakeBackend([Started("m-1"), Delta("Hel"), Pause(1), Delta("lo"), HANG]))
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    bench.journal.late = True
    await asyncio.sleep(1.05)
    asyncio.get_running_loop()._jumping.jumped_s += 3.0
    await device.until(lambda d: d.text == {"m-1": "Hello"})
    assert now() < 7
    bench.journal.come_back()
    await bench.relay.drain(0)


async def test_repeats_that_come_while_no_store_answers_are_one_turn():
    bench = slow()
    one, other = await bench.device(), await bench.device()
    bench.journal.down = True
    first, second = await asyncio.gather(bench.send(one), bench.send(other))
    assert [first.duplicate, second.duplicate] == [False, True]
    await bench.idle()
    assert len(bench.backend.calls) == 1
    assert one.text == other.text == {"m-1": "Hello"}


async def test_a_turn_of_ours_that_is_taken_over_by_ourselves_goes_on_once():
    bench = slow()
    bench.backend.resumes = True
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    (turn_id,) = bench.relay.owned
    kept = await bench.journal.read(turn_id)
    bench.backend.scripts = [[Delta("lo"), Finished()]]
    claim = bench.relay._runs[turn_id].claim
    bench.relay.take_over(Taken(2, claim, kept, "1", stop=False))
    await bench.idle()
    assert device.text == {"m-1": "Hello"}
    assert device.end.finish_reason == "stop"
    assert bench.relay.running == 0


async def test_devices_that_were_told_no_start_are_told_all_that_the_owner_says():
    bench = many(FakeBackend([Pause(60), *answer("Hello")]))
    device = await bench.device()
    bench.journal.late = True
    await bench.send(device)
    await asyncio.sleep(1)
    (turn_id,) = bench.relay.owned
    ids = ("r-1", "room", "m-1")
    said = [MessageStart(*ids), MessageChunk(*ids, 1, "Bye"), MessageEnd(*ids, "Bye", "stop")]
    letters = [Said(turn_id, "room", Batch(n, [m], n == 3)) for n, m in enumerate(said, 1)]
    await heard_by(bench, *letters)
    assert device.text == {"m-1": "Bye"}
    assert device.end.content == "Bye"


async def test_a_fault_in_one_letter_does_not_make_the_node_deaf():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await heard_by(bench, Said("t-8", "room", None), *LETTERS)
    assert device.end.content == "Hello"
    assert [type(fault) for fault in bench.facts.faults] == [AttributeError]


@pytest.mark.parametrize("fails", [1, 3])
async def test_the_end_of_a_turn_that_was_lost_is_kept_once_the_store_can(fails):
    bench = many(FakeBackend([Started("m-1"), Delta("Hello"), Finished()]))
    device = await bench.device()
    bench.journal.says = Appended(Kept.GONE)
    plain, failed = bench.journal.restore, []

    async def restore(taken, batch):
        if len(failed) < fails:
            failed.append(batch)
            raise StoreUnavailable("unable to restore; down")
        return await plain(taken, batch)

    bench.journal.restore = restore
    await bench.send(device)
    await bench.idle()
    assert bench.journal.restored[-1].ended
    assert device.end.content == "Hello"
    assert now() < 3


async def test_a_turn_of_ours_that_another_node_kept_anew_is_not_mixed_with_its_copy():
    bench = slow()
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    (turn_id,) = bench.relay.owned
    other = Transcript(turn_id, "r-1")
    other.take(1, [MessageStart(*IDS), MessageChunk(*IDS, 1, "Bye"), MessageChunk(*IDS, 2, "!")])
    other.number = 9

    async def read(_):
        return other

    bench.journal.read = read
    await heard_by(bench, Anew(turn_id, "room"))
    await bench.idle()
    assert device.text == {"m-1": "Hello"}


async def test_a_request_that_is_forgotten_runs_again_under_another_name():
    bench = Bench(FakeBackend([Delta("Hello"), Finished()]), window_s=10.0)
    device = await bench.device()
    for _ in range(3):
        assert not (await bench.send(device)).duplicate
        await bench.idle()
        await asyncio.sleep(11)
    assert len(device.ended) == 3


@pytest.mark.parametrize("how", ["dead", "letters lost"])
async def test_what_ended_a_short_time_ago_is_kept_again_where_the_journal_lost_it(how):
    bench = many(FakeBackend(answer("Hello")))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    await heard_by(bench, Lost())
    assert not bench.journal.restored  # nothing was lost
    bench.journal.forgets = True
    bench.inbox.lives = how != "dead"
    await heard_by(bench, *([Lost()] if how != "dead" else []))
    assert not bench.facts.faults
    assert all(batch.ended for batch in bench.journal.restored)
    ends = [said for said in bench.journal.restored[0].messages if isinstance(said, MessageEnd)]
    assert ends == [device.end]


async def test_what_ended_long_ago_is_not_kept_again():
    bench = many(FakeBackend(answer("Hello")))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    await asyncio.sleep(11)
    bench.journal.forgets = True
    await heard_by(bench, Lost())
    assert not bench.journal.restored


async def test_a_fault_in_telling_the_room_late_is_said_and_gives_the_turn_up():
    bench = slow()
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    bench.journal.late = True
    await bench.gives_up_where_telling_fails(device)
