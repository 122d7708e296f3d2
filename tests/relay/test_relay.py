import asyncio

import pytest
from fakes import HANG, Bench, FakeBackend, Pause, answer

from bridge.changes import Edit, Reason
from bridge.errors import (
    BackendCut,
    BackendFailed,
    BackendMalformed,
    BackendRefused,
    BackendUnreachable,
    RequestError,
)
from bridge.events import Completed, Delta, Failed, Finished, Started
from bridge.messages import MessageChunk, MessageEnd, MessageStart, MessageStatus, NewMessage
from bridge.stores.redis import FIRST_WORDS


def now():
    return asyncio.get_running_loop().time()


async def test_every_device_of_the_room_hears_the_answer_grow():
    bench = Bench(FakeBackend(answer("Hel", "lo", every_s=0.1)))
    devices = [await bench.device(), await bench.device()]
    await bench.send(devices[0])
    await bench.idle()
    for device in devices:
        assert device.end.content == device.text["m-1"] == "Hello"
        assert device.end.finish_reason == "stop"
        assert [chunk.delta for chunk in device.of(MessageChunk)] == ["Hel", "lo"]


async def test_the_users_own_message_and_the_status_come_before_the_backend_answers():
    bench = Bench(FakeBackend([HANG]))
    sender, other = await bench.device(), await bench.device()
    await bench.send(sender)
    await asyncio.sleep(0.01)
    for device in (sender, other):
        assert [type(message) for message in device.heard] == [NewMessage, MessageStatus]
        assert device.heard[0].role == "user"
        assert device.statuses == ["thinking"]
    await bench.relay.drain(0.1)


async def test_the_first_text_is_among_the_batches_that_wait_for_no_other():
    script = [Pause(1), Started("m-1"), Pause(1), Delta("Hel"), Pause(1), Delta("lo"), Finished()]
    bench = Bench(FakeBackend(script))
    append, numbers = bench.journal.append, []

    def seen(turn_id, epoch, batch):
        numbers.extend(batch.number for each in batch.messages if isinstance(each, MessageChunk))
        return append(turn_id, epoch, batch)

    bench.journal.append = seen
    await bench.send(await bench.device())
    await bench.idle()
    assert numbers[0] <= FIRST_WORDS < numbers[1]


async def test_a_device_hears_what_it_said_at_connect():
    bench = Bench(FakeBackend(answer("Hello")))
    streaming, legacy = await bench.device(streaming=True), await bench.device(streaming=False)
    unsaid = await bench.device(streaming=None)
    await bench.send(streaming)
    await bench.idle()
    assert not streaming.answers
    assert [m.content for m in legacy.answers] == ["Hello"]
    assert all(isinstance(m, NewMessage) for m in legacy.heard)
    assert [m.message_id for m in unsaid.answers] == [unsaid.end.message_id]


async def test_the_start_follows_the_first_frame_of_the_backend():
    bench = Bench(FakeBackend([Pause(2), Started("m-1"), Pause(1), Delta("x"), Finished()]))
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageStart))
    assert now() == pytest.approx(2)
    await bench.idle()


async def test_deltas_that_come_together_leave_as_one_chunk():
    bench = Bench(FakeBackend(answer("a", "b", "c")))
    bench.backend.scripts = [
        [Started("m-1"), Pause(0.1), Delta("a"), Delta("b"), Pause(0.1), Delta("c"), Finished()]
    ]
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert [(chunk.seq, chunk.delta) for chunk in device.of(MessageChunk)] == [(1, "ab"), (2, "c")]


async def test_flag_off_gives_one_new_message_and_nothing_else():
    bench = Bench(
        FakeBackend(answer("x"), whole=Completed("Hello", "w-1", {"mood": "good"})), streaming=False
    )
    devices = [await bench.device(streaming=said) for said in (True, False, None)]
    await bench.send(devices[0])
    await bench.idle()
    for device in devices:
        assert [type(message) for message in device.heard] == [NewMessage, NewMessage]
        assert device.answers[0].content == "Hello"
        assert device.answers[0].extra == {"mood": "good"}
    assert bench.backend.calls == [("complete", "r-1")]


async def test_flips_every_100_ms_during_200_turns_never_mix_paths_in_one():
    bench = Bench(FakeBackend(answer("a", "b", every_s=0.3)), turns_per_room=1)
    bench.backend.whole = Completed("ab")
    devices = [await bench.device(f"room-{number}", streaming=None) for number in range(200)]
    begun = []

    async def flip():
        while True:
            was = (await bench.flag.state()).rollout.value
            await bench.flag.change(Edit("off" if was == "on" else "on"), Reason("test"))
            await asyncio.sleep(0.1)

    async def turn(number):
        await asyncio.sleep(number * 0.037)
        begun.append(((await bench.flag.state()).rollout.value, number))
        await bench.send(devices[number], f"r-{number}", room=f"room-{number}")

    flipping = asyncio.create_task(flip())
    await asyncio.gather(*(turn(number) for number in range(200)))
    await bench.idle()
    flipping.cancel()
    paths = {request: path for path, request in bench.backend.calls}
    assert len(paths) == len(bench.backend.calls) == 200
    for value, number in begun:
        assert paths[f"r-{number}"] == ("stream" if value == "on" else "complete")
        (final,) = devices[number].answers
        assert final.content == "ab"
        assert len(devices[number].of(MessageEnd)) == (value == "on")
    assert 50 < sum(value == "on" for value, _ in begun) < 150


async def test_the_same_request_attaches_and_makes_one_backend_call():
    bench = Bench(FakeBackend(answer("Hel", "lo", every_s=1)))
    first, second = await bench.device(), await bench.device()
    await bench.send(first)
    assert (await bench.send(second)).duplicate
    await asyncio.sleep(1.5)
    assert (await bench.send(first)).duplicate
    await bench.idle()
    assert (await bench.send(second)).message_id == "m-1"
    assert bench.backend.calls == [("stream", "r-1")]
    assert first.end.content == second.end.content == "Hello"


async def test_a_device_that_retries_after_the_end_hears_the_turn_from_the_start():
    bench = Bench(FakeBackend(answer("Hel", "lo", every_s=1)))
    await bench.send(await bench.device())
    await bench.idle()
    late = await bench.device()
    assert not late.heard
    assert (await bench.send(late)).duplicate
    await bench.send(late)
    assert late.text["m-1"] == late.end.content == "Hello"
    assert late.of(MessageChunk)[0].from_seq == 1


async def test_the_same_request_id_with_other_content_is_a_conflict():
    bench = Bench(FakeBackend(answer("x")))
    device = await bench.device()
    await bench.send(device)
    with pytest.raises(RequestError) as refused:
        await bench.send(device, content="other")
    assert refused.value.code == "request_id_conflict"


async def test_the_same_request_id_in_another_room_is_another_turn():
    bench = Bench(FakeBackend(answer("x")))
    for room in ("a", "b"):
        device = await bench.device(room)
        assert not (await bench.send(device, room=room)).duplicate
    await bench.idle()
    assert len(bench.backend.calls) == 2


async def test_turns_of_a_room_run_side_by_side_up_to_the_limit():
    bench = Bench(FakeBackend(answer("a", "b", every_s=1)), turns_per_room=2)
    bench.backend.scripts = [[HANG]]
    device = await bench.device()
    await bench.send(device, "r-1")
    await bench.send(device, "r-2")
    with pytest.raises(RequestError) as refused:
        await bench.send(device, "r-3")
    assert refused.value.code == "busy"
    await bench.relay.stop(device, "room", request_id="r-1")
    await bench.send(device, "r-3")
    await bench.relay.drain(0.1)


async def test_who_has_not_joined_may_not_send_or_stop():
    bench = Bench(FakeBackend(answer("x")))
    device = await bench.device("other")
    for asked in (bench.send(device), bench.relay.stop(device, "room", request_id="r-1")):
        with pytest.raises(RequestError) as refused:
            await asked
        assert refused.value.code == "not_joined"
    assert not bench.backend.calls


async def test_stop_ends_the_turn_as_cancelled_and_closes_the_backend_call():
    bench = Bench(FakeBackend([Started("m-1"), Delta("Hel"), HANG]))
    device, other = await bench.device(), await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    await bench.relay.stop(other, "room", message_id="m-1")
    assert bench.backend.open == 0
    assert device.end.finish_reason == "cancelled"
    assert device.end.content == device.text["m-1"] == "Hel"
    await bench.relay.stop(other, "room", message_id="m-1")
    assert len(device.of(MessageEnd)) == 1


async def test_stop_right_after_the_send_ends_the_turn_too():
    bench = Bench(FakeBackend([HANG]))
    device = await bench.device()
    await bench.send(device)
    await bench.relay.stop(device, "room", request_id="r-1")
    assert device.end.finish_reason == "cancelled"
    assert not bench.facts.faults


async def test_stop_of_an_unknown_message_is_refused():
    bench = Bench(FakeBackend(answer("x")))
    device = await bench.device()
    with pytest.raises(RequestError) as refused:
        await bench.relay.stop(device, "room", message_id="nope")
    assert refused.value.code == "unknown_message"


async def test_disconnecting_is_not_cancelling():
    bench = Bench(FakeBackend(answer("Hel", "lo", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    bench.rooms.gone(device)
    await asyncio.sleep(1.5)
    back = await bench.device()
    assert back.text == {"m-1": "Hel"}
    await bench.idle()
    assert back.end.content == "Hello"


REFUSED = BackendUnreachable("refused")
CUT = BackendCut("cut")


async def test_a_backend_that_cannot_be_reached_gets_one_retry():
    bench = Bench(FakeBackend([REFUSED], answer("Hello")))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert device.end.content == "Hello"
    assert [call for call, _ in bench.backend.calls] == ["stream", "stream"]
    assert 0.1 <= now() <= 0.3


async def test_after_the_retry_the_complete_call_is_the_fall_back():
    bench = Bench(FakeBackend([REFUSED]))
    device, legacy = await bench.device(), await bench.device(streaming=False)
    await bench.send(device)
    await bench.idle()
    assert [call for call, _ in bench.backend.calls] == ["stream", "stream", "complete"]
    assert [m.content for m in device.answers] == [m.content for m in legacy.answers] == ["whole"]
    assert not device.of(MessageEnd)


async def test_when_the_fall_back_fails_too_the_end_says_error():
    bench = Bench(FakeBackend([REFUSED], whole=REFUSED))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert (device.end.finish_reason, device.end.error[0]) == ("error", "backend_unavailable")
    assert not device.answers


async def test_the_fall_back_gives_the_text_and_the_end_to_devices_that_heard_a_start():
    bench = Bench(FakeBackend([Started("m-1"), BackendMalformed("no frames")], idempotent=True))
    device, legacy = await bench.device(), await bench.device(streaming=False)
    await bench.send(device)
    await bench.idle()
    assert len(device.of(MessageStart)) == 1
    assert device.end.content == device.text["m-1"] == "whole"
    assert [m.message_id for m in legacy.answers] == ["m-1"]


@pytest.mark.parametrize("failure", [CUT, BackendRefused(503), BackendFailed("in band")], ids=type)
async def test_a_call_that_may_have_arrived_is_not_repeated(failure):
    bench = Bench(FakeBackend([Started("m-1"), failure]))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert len(bench.backend.calls) == 1
    assert device.end.finish_reason == "error"


@pytest.mark.parametrize("failure", [CUT, BackendRefused(503), BackendFailed("in band")], ids=type)
async def test_an_idempotent_backend_is_asked_again(failure):
    bench = Bench(FakeBackend([failure], answer("Hello"), idempotent=True))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert device.end.content == "Hello"


async def test_a_missing_stream_path_goes_straight_to_the_complete_call():
    bench = Bench(FakeBackend([BackendRefused(404)]))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert [call for call, _ in bench.backend.calls] == ["stream", "complete"]
    assert device.answers[0].content == "whole"


@pytest.mark.parametrize(
    ("failure", "reason", "idempotent"),
    [(CUT, "interrupted", False), (BackendFailed("in band"), "error", True)],
    ids=["cut", "failed"],
)
async def test_after_the_first_chunk_the_text_stays_and_nothing_is_asked_again(failure, reason, idempotent):
    bench = Bench(FakeBackend([Started("m-1"), Delta("Hel"), failure], idempotent=idempotent))
    device, legacy = await bench.device(), await bench.device(streaming=False)
    await bench.send(device)
    await bench.idle()
    assert (device.end.finish_reason, device.end.content) == (reason, "Hel")
    assert [m.content for m in legacy.answers] == ["Hel"]
    assert len(bench.backend.calls) == 1


async def test_the_rest_of_an_answer_that_was_cut_comes_from_the_complete_call():
    bench = Bench(
        FakeBackend([Started("m-1"), Delta("Hel"), CUT], whole=Completed("Hello", "w-1"), idempotent=True)
    )
    device, legacy = await bench.device(), await bench.device(streaming=False)
    await bench.send(device)
    await bench.idle()
    assert [call for call, _ in bench.backend.calls] == ["stream", "complete"]
    assert (device.end.finish_reason, device.end.content, device.text["m-1"]) == ("stop", "Hello", "Hello")
    assert [m.content for m in legacy.answers] == ["Hello"]
    assert 0.1 <= now() <= 0.3  # what cut the stream may take a moment to be over


async def test_where_the_complete_call_says_another_text_the_end_has_it():
    bench = Bench(
        FakeBackend([Started("m-1"), Delta("Hel"), CUT], whole=Completed("Bye", "w-1"), idempotent=True)
    )
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert (device.end.finish_reason, device.end.content, device.text["m-1"]) == ("stop", "Bye", "Hel")
    assert bench.facts.reports[0].differs


@pytest.mark.parametrize("whole", [BackendRefused(503), HANG], ids=["refused", "hangs"])
async def test_where_nobody_supplies_the_rest_in_time_the_answer_stays_cut(whole):
    bench = Bench(FakeBackend([Started("m-1"), Delta("Hel"), CUT], whole=whole, idempotent=True), stall_s=15)
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert (device.end.finish_reason, device.end.content) == ("interrupted", "Hel")
    assert device.end.error[0] == "backend_cut"
    assert now() <= 15.1


async def test_an_idempotent_backend_is_called_twice_at_most():
    bench = Bench(FakeBackend([BackendRefused(503)], idempotent=True))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert [call for call, _ in bench.backend.calls] == ["stream", "stream"]
    assert device.end.error[0] == "backend_unavailable"


@pytest.mark.parametrize(("asked_s", "calls"), [(1.0, 2), (30.0, 1)])
async def test_a_backend_that_wants_to_be_left_alone_is_for_a_while_or_for_good(asked_s, calls):
    bench = Bench(FakeBackend([BackendRefused(429, asked_s)], answer("Hello"), idempotent=True))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert [call for call, _ in bench.backend.calls] == ["stream"] * calls
    assert calls == 1 or now() >= asked_s


async def test_the_failure_that_a_dialect_found_counts_like_any_other():
    bench = Bench(FakeBackend([Failed(CUT)], answer("Hello"), idempotent=True))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert device.end.content == "Hello"


async def test_no_first_delta_in_time_ends_as_timeout():
    bench = Bench(FakeBackend([Started("m-1"), HANG], idempotent=True), first_delta_s=10)
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert device.end.finish_reason == "timeout"
    assert now() == pytest.approx(10, abs=0.1)
    assert bench.backend.open == 0


async def test_a_stall_between_deltas_ends_as_interrupted():
    bench = Bench(
        FakeBackend([Started("m-1"), Pause(9), Delta("a"), Pause(14), Delta("b"), HANG]), stall_s=15
    )
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert (device.end.finish_reason, device.end.content) == ("interrupted", "ab")
    assert now() == pytest.approx(9 + 14 + 15, abs=0.01)


async def test_the_whole_turn_has_a_deadline():
    bench = Bench(FakeBackend(answer(*"abcdefgh", every_s=5)), turn_s=12)
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert (device.end.finish_reason, device.end.content) == ("timeout", "ab")
    assert now() == pytest.approx(12, abs=0.1)


async def test_the_complete_call_has_the_deadline_of_the_turn():
    bench = Bench(FakeBackend([], whole=HANG), streaming=False, turn_s=12)
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert now() == pytest.approx(12, abs=0.1)
    assert bench.facts.reports[0].finish_reason == "timeout"


async def test_an_answer_without_bound_is_cut_at_its_limit():
    bench = Bench(FakeBackend([Started("m-1"), *([Delta("x" * 100), Pause(0.1)] * 50)]), answer_bytes=1000)
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert device.end.finish_reason == "length"
    assert len(device.end.content) == 1000
    assert bench.backend.open == 0


async def test_draining_refuses_new_turns_and_lets_running_ones_end():
    bench = Bench(FakeBackend(answer("a", "b", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    draining = asyncio.create_task(bench.relay.drain(4))
    await asyncio.sleep(0)
    with pytest.raises(RequestError) as refused:
        await bench.send(device, "r-2")
    assert refused.value.code == "draining"
    await draining
    assert device.end.finish_reason == "stop"
    assert now() == pytest.approx(2, abs=0.1)


async def test_what_does_not_end_while_draining_is_interrupted():
    bench = Bench(FakeBackend([Started("m-1"), Delta("Hel"), HANG]))
    device = await bench.device()
    await bench.send(device)
    await bench.relay.drain(4)
    assert (device.end.finish_reason, device.end.content) == ("interrupted", "Hel")
    assert now() == pytest.approx(4, abs=0.1)


async def test_a_fault_in_the_bridge_ends_the_turn_and_is_reported():
    bench = Bench(FakeBackend([Started("m-1"), Delta("Hel"), RuntimeError("bug")]))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    assert (device.end.finish_reason, device.end.error[0]) == ("error", "internal")
    assert [str(fault) for fault in bench.facts.faults] == ["bug"]


async def test_a_turn_is_reported_once_with_its_facts():
    bench = Bench(FakeBackend([Pause(1), *answer("Hel", "lo", every_s=1)]))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    (report,) = bench.facts.reports
    assert (report.deltas, report.chunks, report.content_chars, report.backend_calls) == (2, 2, 5, 1)
    assert report.first_event_s == pytest.approx(1)
    assert report.first_delta_s == report.first_kept_s == report.first_chunk_s == pytest.approx(2)
    assert not report.taken_over
    assert report.completion_s == pytest.approx(3)


async def test_ten_senders_in_one_room_never_interleave():
    bench = Bench(FakeBackend(answer("x")), turns_per_room=10)
    bench.backend.scripts = [
        [Started(f"m-{n}"), *(step for c in "abcdef" for step in (Pause(0.1), Delta(f"{n}{c}"))), Finished()]
        for n in range(10)
    ]
    device = await bench.device()
    for number in range(10):
        await bench.send(device, f"r-{number}")
    await bench.idle()
    assert device.text == {f"m-{n}": "".join(f"{n}{c}" for c in "abcdef") for n in range(10)}


async def test_a_fault_in_telling_the_room_is_said_and_gives_the_turn_up():
    bench = Bench(FakeBackend([Started("m-1"), Delta("Hel"), Pause(1), Delta("lo"), HANG]))
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    await bench.gives_up_where_telling_fails(device)
