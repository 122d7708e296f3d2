"""The contract of the journal, over every implementation."""

import asyncio

import pytest

from bridge.letters import Batch
from bridge.messages import MessageChunk, MessageEnd, MessageStart
from bridge.ports import Appended, Attached, Busy, Claim, Claimed, Conflict, Kept, Prompt
from bridge.stores.memory import MemoryJournal

WINDOW_S = 600.0


def claim(turn_id="t-1", *, room="room", user="", request_id="r-1", digest="d", limit=4):
    return Claim(turn_id, Prompt(request_id, room, turn_id, "hi", user, {"lang": "de"}), True, digest, limit)


def said(message_id="m-1", text="abc", room="room"):
    ids = ("r-1", room, message_id)
    chunks = [MessageChunk(*ids, seq, delta) for seq, delta in enumerate(text, 1)]
    return [MessageStart(*ids), *chunks, MessageEnd(*ids, text, "stop")]


async def whole(journal, turn_id="t-1", messages=None):
    return await journal.append(turn_id, 1, Batch(1, messages or said(), ended=True))


async def test_the_first_claim_wins_and_the_second_attaches(journal):
    assert await journal.claim(claim()) == Claimed()
    assert await journal.claim(claim("t-2")) == Attached("t-1")


async def test_of_many_claims_at_once_one_wins(journal):
    won = await asyncio.gather(*(journal.claim(claim(f"t-{number}")) for number in range(50)))
    assert won.count(Claimed()) == 1
    assert len({each for each in won if each != Claimed()}) == 1


async def test_other_content_under_the_same_request_id_is_a_conflict(journal):
    await journal.claim(claim())
    assert await journal.claim(claim("t-2", digest="other")) == Conflict()


@pytest.mark.parametrize(
    "other", [{"room": "elsewhere"}, {"user": "eve"}, {"request_id": "r-2"}, {"request_id": 1}], ids=str
)
async def test_another_room_user_or_request_is_another_turn(journal, other):
    await journal.claim(claim())
    assert await journal.claim(claim("t-2", **other)) == Claimed()


async def test_a_number_and_its_text_are_two_names(journal):
    await journal.claim(claim(room=42))
    assert await journal.claim(claim("t-2", room="42")) == Claimed()
    assert await journal.find(42, request_id="r-1") == "t-1"
    assert await journal.find("42", request_id="r-1") == "t-2"


async def test_the_limit_counts_the_running_turns_of_the_room(journal):
    assert await journal.claim(claim("t-1", request_id="r-1", limit=1)) == Claimed()
    assert await journal.claim(claim("t-2", request_id="r-2", limit=1)) == Busy()
    assert await journal.claim(claim("t-2", request_id="r-2", room="other", limit=1)) == Claimed()
    await whole(journal)
    assert await journal.claim(claim("t-3", request_id="r-3", limit=1)) == Claimed()


async def test_what_was_appended_is_read_in_order(journal):
    await journal.claim(claim())
    messages = said()
    for number, message in enumerate(messages, start=1):
        kept = await journal.append("t-1", 1, Batch(number, [message], message is messages[-1]))
        assert kept == Appended(Kept.OK)
    transcript = await journal.read("t-1")
    assert transcript.since(1)[0].delta == "bc"
    assert (transcript.ended, transcript.number) == (True, len(messages))


async def test_batches_that_wait_together_are_kept_in_the_order_of_the_calls(journal):
    await journal.claim(claim())
    waiting = [journal.append("t-1", 1, Batch(n, [m])) for n, m in enumerate(said(text="x" * 300), start=1)]
    assert {(await kept).kept for kept in waiting} == {Kept.OK}
    assert (await journal.read("t-1")).text == "x" * 300


async def test_a_batch_is_kept_once_and_never_behind_a_gap_or_an_end(journal):
    await journal.claim(claim())
    start, chunk, *_, end = said()
    assert (await journal.append("t-1", 1, Batch(1, [start]))).kept is Kept.OK
    assert (await journal.append("t-1", 1, Batch(1, [start]))).kept is Kept.DUPLICATE
    assert (await journal.append("t-1", 1, Batch(3, [chunk]))).kept is Kept.GAP
    assert (await journal.append("t-1", 1, Batch(2, [chunk, end], ended=True))).kept is Kept.OK
    assert (await journal.append("t-1", 1, Batch(2, [chunk, end], ended=True))).kept is Kept.DUPLICATE
    assert (await journal.append("t-1", 1, Batch(3, [chunk]))).kept is Kept.CLOSED
    assert (await journal.read("t-1")).seq == 1


async def test_unknown_turns_are_neither_read_nor_appended_to(journal):
    assert (await whole(journal, "nope")).kept is Kept.GONE
    assert await journal.read("nope") is None
    assert not await journal.stop("nope")


async def test_a_turn_is_found_by_its_answer_or_its_request_in_its_room_only(journal):
    await journal.claim(claim())
    await journal.append("t-1", 1, Batch(1, said()[:2]))
    assert await journal.find("room", message_id="m-1") == "t-1"
    assert await journal.find("room", request_id="r-1") == "t-1"
    assert await journal.find("other", message_id="m-1") is None
    assert await journal.find("room", message_id="m-2") is None


async def test_only_a_running_turn_can_be_stopped(journal):
    await journal.claim(claim())
    assert await journal.stop("t-1")
    await whole(journal)
    assert not await journal.stop("t-1")


async def test_an_ended_turn_goes_after_its_window_and_a_running_one_stays(clock):
    journal = MemoryJournal(clock, window_s=WINDOW_S)
    await journal.claim(claim("t-1", request_id="r-1"))
    await journal.claim(claim("t-2", request_id="r-2"))
    await whole(journal)
    clock.now_s = WINDOW_S - 1
    assert await journal.read("t-1") is not None
    clock.now_s = WINDOW_S + 1
    assert await journal.read("t-1") is None
    assert await journal.read("t-2") is not None
    assert await journal.claim(claim("t-3", request_id="r-1")) == Claimed()


async def test_memory_of_ended_turns_is_bounded(clock):
    journal = MemoryJournal(clock, window_s=WINDOW_S, ended_limit_bytes=100_000)
    for number in range(100):
        await journal.claim(claim(f"t-{number}", request_id=f"r-{number}"))
        await whole(journal, f"t-{number}", said(text="x" * 10))
    kept = [n for n in range(100) if await journal.read(f"t-{n}") is not None]
    assert 5 < len(kept) < 20
    assert kept[-1] == 99
