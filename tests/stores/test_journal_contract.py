"""The contract of the journal, over every implementation."""

import pytest

from bridge.messages import MessageChunk, MessageEnd, MessageStart
from bridge.ports import Attached, Busy, Claim, Claimed, Conflict
from bridge.stores.memory import MemoryJournal

WINDOW_S = 600.0


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory"])
def journal(request, clock):
    assert request.param == "memory"
    return MemoryJournal(clock, window_s=WINDOW_S)


def claim(turn_id="t-1", *, room="room", user="", request_id="r-1", digest="d", limit=4):
    return Claim(turn_id, room, user, request_id, digest, limit)


def said(message_id="m-1", text="abc", room="room"):
    ids = ("r-1", room, message_id)
    chunks = [MessageChunk(*ids, seq, delta) for seq, delta in enumerate(text, 1)]
    return [MessageStart(*ids), *chunks, MessageEnd(*ids, text, "stop")]


async def test_the_first_claim_wins_and_the_second_attaches(journal):
    assert await journal.claim(claim()) == Claimed()
    assert await journal.claim(claim("t-2")) == Attached("t-1")


async def test_other_content_under_the_same_request_id_is_a_conflict(journal):
    await journal.claim(claim())
    assert await journal.claim(claim("t-2", digest="other")) == Conflict()


@pytest.mark.parametrize("other", [{"room": "elsewhere"}, {"user": "eve"}, {"request_id": "r-2"}], ids=str)
async def test_another_room_user_or_request_is_another_turn(journal, other):
    await journal.claim(claim())
    assert await journal.claim(claim("t-2", **other)) == Claimed()


async def test_the_limit_counts_the_running_turns_of_the_room(journal):
    assert await journal.claim(claim("t-1", request_id="r-1", limit=1)) == Claimed()
    assert await journal.claim(claim("t-2", request_id="r-2", limit=1)) == Busy()
    assert await journal.claim(claim("t-2", request_id="r-2", room="other", limit=1)) == Claimed()
    await journal.append("t-1", [], ended=True)
    assert await journal.claim(claim("t-3", request_id="r-3", limit=1)) == Claimed()


async def test_what_was_appended_is_read_in_order(journal):
    await journal.claim(claim())
    messages = said()
    for message in messages:
        await journal.append("t-1", [message], ended=message is messages[-1])
    transcript = await journal.read("t-1")
    assert transcript.since(1)[0].delta == "bc"
    assert transcript.ended


async def test_an_ended_turn_is_closed(journal):
    await journal.claim(claim())
    await journal.append("t-1", said(), ended=True)
    await journal.append("t-1", [MessageChunk("r-1", "room", "m-1", 4, "x")], ended=False)
    assert (await journal.read("t-1")).seq == 3


async def test_a_turn_is_found_by_its_answer_or_its_request_in_its_room_only(journal):
    await journal.claim(claim())
    await journal.append("t-1", said()[:2], ended=False)
    assert await journal.find("room", message_id="m-1") == "t-1"
    assert await journal.find("room", request_id="r-1") == "t-1"
    assert await journal.find("other", message_id="m-1") is None
    assert await journal.find("room", message_id="m-2") is None


async def test_an_ended_turn_goes_after_its_window_and_a_running_one_stays(journal, clock):
    await journal.claim(claim("t-1", request_id="r-1"))
    await journal.claim(claim("t-2", request_id="r-2"))
    await journal.append("t-1", said(), ended=True)
    clock.now_s = WINDOW_S - 1
    assert await journal.read("t-1") is not None
    clock.now_s = WINDOW_S + 1
    assert await journal.read("t-1") is None
    assert await journal.read("t-2") is not None
    assert await journal.claim(claim("t-3", request_id="r-1")) == Claimed()


async def test_unknown_turns_are_neither_read_nor_appended_to(journal):
    await journal.append("nope", said(), ended=True)
    assert await journal.read("nope") is None


async def test_memory_of_ended_turns_is_bounded(clock):
    journal = MemoryJournal(clock, window_s=WINDOW_S, ended_limit_bytes=100_000)
    for number in range(100):
        await journal.claim(claim(f"t-{number}", request_id=f"r-{number}"))
        await journal.append(f"t-{number}", said(text="x" * 10), ended=True)
    kept = [n for n in range(100) if await journal.read(f"t-{n}") is not None]
    assert 5 < len(kept) < 20
    assert kept[-1] == 99
