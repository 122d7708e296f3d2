"""A turn that a server asked for in the place of its clients: who hears what, also after a takeover."""

import asyncio

import pytest
from fakes import Bench, FakeBackend, Pause, answer

from bridge.errors import RequestError
from bridge.listener import end_of, under_way
from bridge.messages import MessageChunk, MessageEnd, MessageStart, NewMessage
from bridge.ports import Claim, Prompt, Taken
from bridge.requests import Send
from bridge.transcript import Transcript


def send(request_id="r-1", **more):
    return Send("room", "hi", request_id, announced_elsewhere=True, **more)


async def ended(bench, asked):
    async with end_of(bench.relay, bench.rooms, asked, "") as end:
        return await end


async def test_nobody_hears_a_complete_message_neither_the_users_nor_the_answer():
    bench = Bench(FakeBackend(answer("Hel", "lo", every_s=0.1)))
    devices = [await bench.device(streaming=said) for said in (True, None, False)]
    end = await ended(bench, send())
    await bench.idle()
    assert end.content == devices[0].end.content == devices[1].text["m-1"] == "Hello"
    assert not any(device.of(NewMessage) for device in devices)
    assert not devices[2].heard


async def test_it_streams_whatever_the_flag_has_become_since_its_door_asked():
    bench = Bench(FakeBackend(answer("Hello")), streaming=False)
    assert (await ended(bench, send())).content == "Hello"
    assert bench.backend.calls == [("stream", "r-1")]


async def test_who_attaches_hears_the_same_end_while_it_runs_and_afterwards():
    bench = Bench(FakeBackend(answer("Hel", "lo", every_s=0.1)))
    ends = await asyncio.gather(ended(bench, send()), ended(bench, send()))
    await bench.idle()
    ends.append(await ended(bench, send()))
    assert ends[0] == ends[1] == ends[2]
    assert len(bench.backend.calls) == 1


async def test_who_leaves_ends_no_turn_and_leaves_nothing_in_the_room():
    bench = Bench(FakeBackend(answer("Hel", "lo", every_s=1)))
    waiting = asyncio.create_task(ended(bench, send()))
    await asyncio.sleep(0.5)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert bench.rooms.devices == 0
    await bench.idle()
    assert bench.facts.reports[0].finish_reason == "stop"


async def test_a_refused_send_leaves_nothing_in_the_room():
    bench = Bench(FakeBackend(answer("x")))
    await bench.relay.drain(0)
    with pytest.raises(RequestError):
        await ended(bench, send())
    assert bench.rooms.devices == 0


async def test_the_name_and_the_headers_of_the_asker_reach_the_backend_and_the_headers_no_store():
    prompts = []

    class Noting(FakeBackend):
        async def stream(self, prompt, take, after=""):
            prompts.append(prompt)
            await super().stream(prompt, take, after)

    bench = Bench(Noting([Pause(1), *answer("x")]))
    waiting = asyncio.create_task(ended(bench, send(message_id=0, headers={"authorization": "secret"})))
    await asyncio.sleep(0.5)
    assert (prompts[0].message_id, prompts[0].headers) == (0, {"authorization": "secret"})
    assert not any(turn.claim.prompt.headers for turn in bench.journal._turns.values())
    assert "secret" not in repr(prompts[0])
    await waiting


async def test_what_runs_is_told_as_one_start_and_one_chunk():
    bench = Bench(FakeBackend(answer("Hel", "lo", "", every_s=1)))
    waiting = asyncio.create_task(ended(bench, send()))
    await asyncio.sleep(2.5)
    told = await under_way(bench.rooms, "room")
    assert [type(each) for each in told if not hasattr(each, "status")] == [MessageStart, MessageChunk]
    assert told[-1].delta == "Hello"
    await waiting
    assert await under_way(bench.rooms, "room") == []


async def test_a_takeover_tells_no_complete_message_either():
    bench = Bench(FakeBackend(answer("Hello"), idempotent=True))
    device = await bench.device()
    claim = Claim("t-9", Prompt("r-9", "room", "t-9", "hi"), True, "digest", 4, announced_elsewhere=True)
    await bench.journal.claim(claim)
    bench.relay.take_over(Taken(2, claim, Transcript("t-9", "r-9"), "", stop=False))
    await device.until(lambda d: d.of(MessageEnd))
    await bench.idle()
    assert device.end.content == "Hello"
    assert not device.of(NewMessage)
