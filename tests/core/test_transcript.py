import pytest

from bridge.messages import (
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
)
from bridge.transcript import Applied, Transcript

IDS = ("r", 1, "m")
START, END = MessageStart(*IDS), MessageEnd(*IDS, "abc", "stop")
ANSWER = NewMessage(*IDS, "assistant", "abc", "now", {}, True)
CHUNKS = [MessageChunk(*IDS, seq, delta) for seq, delta in enumerate("abc", 1)]


def transcript(*messages):
    made = Transcript("t", "r")
    for message in messages:
        assert made.apply(message) is Applied.APPLIED
    return made


def test_chunks_apply_only_in_order_and_once():
    made = transcript(START, CHUNKS[0])
    assert made.apply(CHUNKS[0]) is Applied.DUPLICATE
    assert made.apply(CHUNKS[2]) is Applied.GAP
    assert made.apply(START) is Applied.DUPLICATE
    assert made.since(0) == [CHUNKS[0]]


def test_reasoning_is_told_to_newcomers_in_one_piece_and_never_again():
    made = transcript(START, MessageReasoning(*IDS, "h"), MessageReasoning(*IDS, "m"), CHUNKS[0])
    assert made.since(None) == [START, MessageReasoning(*IDS, "hm"), CHUNKS[0]]
    assert made.since(0) == [CHUNKS[0]]


@pytest.mark.parametrize("seq", range(4))
def test_since_gives_one_merged_chunk_from_any_seq_to_the_head(seq):
    heard = transcript(START, *CHUNKS).since(seq)
    text = "".join(chunk.delta for chunk in heard)
    assert text == "abc"[seq:]
    assert [chunk.from_seq or chunk.seq for chunk in heard] == [seq + 1][: 3 - seq]
    assert [chunk.seq for chunk in heard] == [3][: 3 - seq]


def test_a_device_that_heard_nothing_is_told_all_of_a_running_turn():
    status, tool = MessageStatus(*IDS, "building"), MessageTool(*IDS, "c", "n", "call")
    heard = transcript(START, status, tool, *CHUNKS).since(None)
    assert heard == [START, status, tool, MessageChunk(*IDS, 3, "abc", 1)]


def test_an_ended_turn_is_told_to_its_end_without_its_status():
    made = transcript(MessageStatus("r", 1, None, "thinking"), START, *CHUNKS, END, ANSWER)
    assert made.since(None) == [START, MessageChunk(*IDS, 3, "abc", 1), END, ANSWER]
    assert made.since(99) == [END, ANSWER]
    assert made.ended


def test_the_name_of_the_answer_is_known_from_the_start_or_the_end():
    assert transcript().message_id is None
    assert transcript(START).message_id == "m"
    assert transcript(END).message_id == "m"


def test_the_repr_says_how_far_it_is():
    assert repr(transcript(START, *CHUNKS)) == "<Transcript 'r' running seq=3>"
