import asyncio
import random

import pytest
from fakes import HANG, Bench, FakeBackend, FakeDevice, Pause, answer

from bridge.errors import RequestError
from bridge.events import Delta, Started
from bridge.messages import MessageChunk, MessageEnd, MessageStart, NewMessage

TEXT = [f"token{n} " for n in range(200)]


async def test_late_joiners_at_any_instant_hear_the_whole_turn_without_gap_or_repeat():
    bench = Bench(FakeBackend(answer(*TEXT, every_s=0.02)))
    chance = random.Random(7)
    first = await bench.device()
    await bench.send(first)

    async def join_late():
        await asyncio.sleep(chance.uniform(0, 4))
        return await bench.device(streaming=chance.choice([True, None]))

    devices = await asyncio.gather(*(join_late() for _ in range(500)))
    await bench.idle()
    late = [d for d in devices if d.of(MessageStart)]
    assert len(late) >= 480  # the others came after the end
    assert all(d.text["m-1"] == d.end.content == "".join(TEXT) for d in late)


async def test_devices_that_resume_from_any_seq_lack_nothing_and_hear_nothing_twice():
    bench = Bench(FakeBackend(answer(*TEXT, every_s=0.02)))
    chance = random.Random(11)
    first = await bench.device()
    await bench.send(first)

    async def come_back():
        await asyncio.sleep(chance.uniform(0.1, 5))  # some after the end
        seq = chance.randint(0, first.seq["m-1"])
        device = FakeDevice()
        device.knows("m-1", seq, "".join(TEXT[:seq]))
        joined = await bench.rooms.join(device, "room", {"m-1": seq})
        assert not joined.lost
        return device

    devices = await asyncio.gather(*(come_back() for _ in range(500)))
    await bench.idle()
    assert all(d.text["m-1"] == d.end.content == "".join(TEXT) for d in devices)
    assert not any(d.of(MessageStart) for d in devices)


async def test_a_late_joiner_gets_one_merged_chunk():
    bench = Bench(FakeBackend(answer("a", "b", "c", "d", every_s=1)))
    await bench.send(await bench.device())
    await asyncio.sleep(3.5)
    late = await bench.device()
    assert [(c.from_seq, c.seq, c.delta) for c in late.of(MessageChunk)] == [(1, 3, "abc")]
    await bench.idle()


async def test_the_ack_of_a_join_names_the_running_turns():
    bench = Bench(FakeBackend([Started("m-1"), Delta("a"), Pause(1), Delta("b"), HANG]))
    await bench.send(await bench.device())
    await asyncio.sleep(2)
    joined = await bench.rooms.join(FakeDevice(), "room", {})
    assert [(turn.request_id, turn.message_id, turn.seq) for turn in joined.active] == [("r-1", "m-1", 2)]
    await bench.relay.drain(0.1)


async def test_joining_twice_tells_nothing_twice():
    bench = Bench(FakeBackend([Started("m-1"), Delta("a"), HANG]))
    device = await bench.device()
    await bench.send(device)
    await asyncio.sleep(0.1)
    await bench.rooms.join(device, "room", {})
    assert device.text == {"m-1": "a"}
    await bench.relay.drain(0.1)


async def test_who_left_hears_nothing_and_who_comes_back_resumes():
    bench = Bench(FakeBackend(answer("a", "b", "c", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    await asyncio.sleep(1.5)
    bench.rooms.leave(device, "room")
    await asyncio.sleep(1)
    assert device.text == {"m-1": "a"}
    await bench.rooms.join(device, "room", {"m-1": 1})
    await bench.idle()
    assert device.text["m-1"] == device.end.content == "abc"


async def test_a_device_of_another_room_hears_nothing():
    bench = Bench(FakeBackend(answer("a")))
    stranger = await bench.device("other")
    await bench.send(await bench.device())
    await bench.idle()
    assert not stranger.heard


async def test_a_room_named_by_a_number_is_not_the_room_named_by_its_digits():
    bench = Bench(FakeBackend(answer("a")))
    number, text = await bench.device(42), await bench.device("42")
    await bench.send(number, room=42)
    await bench.idle()
    assert number.end.room_id == 42
    assert not text.heard


async def test_resume_of_a_running_turn_tells_what_follows_the_seq():
    bench = Bench(FakeBackend(answer("a", "b", "c", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    await asyncio.sleep(2.5)
    device.knows("m-1", 1, "a")
    resumed = await bench.rooms.resume(device, "room", "m-1", 1)
    assert (resumed.recovered, resumed.seq) == (True, 2)
    assert device.text["m-1"] == "ab"
    await bench.idle()


async def test_resume_beyond_the_window_says_that_nothing_was_recovered():
    bench = Bench(FakeBackend(answer("a")), window_s=60)
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    await asyncio.sleep(59)
    late = FakeDevice()
    late.knows("m-1", 0, "")
    assert not (await bench.rooms.join(late, "room", {"m-1": 0})).lost
    assert late.end.content == "a"
    await asyncio.sleep(2)
    assert not (await bench.rooms.resume(device, "room", "m-1", 0)).recovered
    assert (await bench.rooms.join(FakeDevice(), "room", {"m-1": 0})).lost == ["m-1"]


async def test_resume_of_a_message_of_another_room_is_like_an_unknown_one():
    bench = Bench(FakeBackend([Started("m-1"), Delta("secret"), HANG]))
    await bench.send(await bench.device())
    stranger = await bench.device("other")
    assert not (await bench.rooms.resume(stranger, "other", "m-1", 0)).recovered
    with pytest.raises(RequestError):
        await bench.rooms.resume(stranger, "room", "m-1", 0)
    assert not stranger.heard
    await bench.relay.drain(0.1)


async def test_an_empty_room_is_forgotten_and_a_turn_in_it_still_ends():
    bench = Bench(FakeBackend(answer("a", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    bench.rooms.gone(device)
    await bench.idle()
    await bench.rooms.sweep()
    assert repr(bench.rooms) == "<Rooms 0 rooms, 0 devices, 0 running turns>"
    assert not device.of(MessageEnd)


async def test_a_device_that_lags_hears_no_text_and_then_all_of_it_as_one_chunk():
    bench = Bench(FakeBackend([*answer("a", "b", "c", "d", every_s=1)]))
    quick, slow = await bench.device(), await bench.device()
    await bench.send(quick)
    await quick.until(lambda d: len(d.of(MessageChunk)) == 1)
    slow.lagging = True
    await quick.until(lambda d: len(d.of(MessageChunk)) == 3)
    slow.lagging = False
    bench.rooms.caught_up(slow)
    await bench.idle()
    assert [(chunk.from_seq, chunk.delta) for chunk in slow.of(MessageChunk)] == [
        (None, "a"),
        (2, "bc"),
        (None, "d"),
    ]
    assert slow.text == quick.text == {"m-1": "abcd"}


async def test_a_device_that_lags_over_the_end_gets_text_and_end_once_it_can():
    bench = Bench(FakeBackend([*answer("a", "b", every_s=1)]))
    quick, slow = await bench.device(), await bench.device()
    slow.lagging = True
    await bench.send(quick)
    await bench.idle()
    assert not slow.of(MessageChunk)
    assert slow.statuses == quick.statuses
    assert [said.role for said in slow.of(NewMessage)] == ["user"]
    slow.lagging = False
    bench.rooms.caught_up(slow)
    assert (slow.text, slow.end.content) == ({"m-1": "ab"}, "ab")
    assert len(slow.answers) == len(quick.answers)


async def test_a_device_that_lags_and_resumes_hears_nothing_twice():
    bench = Bench(FakeBackend([*answer("a", "b", "c", every_s=1)]))
    quick, slow = await bench.device(), await bench.device()
    await bench.send(quick)
    await quick.until(lambda d: len(d.of(MessageChunk)) == 1)
    slow.lagging = True
    await quick.until(lambda d: len(d.of(MessageChunk)) == 2)
    await bench.rooms.resume(slow, "room", "m-1", 1)
    slow.lagging = False
    await quick.until(lambda d: len(d.of(MessageChunk)) == 3)
    bench.rooms.caught_up(slow)
    await bench.idle()
    assert slow.text == {"m-1": "abc"}
    assert slow.end.content == "abc"
