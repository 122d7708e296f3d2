import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import errors
from bridge.errors import AnswerTooLarge, BackendCut, BackendFailed, BackendStalled, IllegalMove
from bridge.events import (
    Completed,
    Conversation,
    Delta,
    Failed,
    Finished,
    Position,
    Reasoning,
    Started,
    Status,
    Tool,
)
from bridge.messages import (
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
    event_name,
    payload,
)
from bridge.turn import MOVES, State, Turn

EVENTS = [
    Started("m-1"),
    Delta("x"),
    Reasoning("hm"),
    Conversation("c-1"),
    Position("1"),
    Status("s"),
    Tool("c", "n", "start"),
    Finished(),
    Failed(BackendCut("cut")),
    Completed("whole"),
]


def turn(*, streaming=True, limit=1000, reasoning=False):
    return Turn(
        request_id="r",
        room_id=1,
        message_id="ours",
        streaming=streaming,
        created_at=lambda: "now",
        content_limit_bytes=limit,
        reasoning=reasoning,
    )


def in_state(state):
    made = turn()
    made.apply(Started()) if state is not State.CLAIMED else None
    made.apply(Finished()) if state is State.ENDED else None
    return made


def said(made, *events):
    for event in events:
        made.apply(event)
    return made.take()


def kinds(messages):
    return [type(message) for message in messages]


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(State, EVENTS)), ids=lambda v: str(v)[:30]
)
def test_every_move_is_the_tables_or_is_refused_and_changes_nothing(state, event):
    made = in_state(state)
    made.take()
    target = MOVES[state].get(type(event))
    if target is None:
        with pytest.raises(IllegalMove):
            made.apply(event)
        assert (made.state, made.take()) == (state, [])
    else:
        made.apply(event)
        assert made.state is target


def test_all_that_gathered_is_one_chunk_and_the_first_delta_leaves_at_once():
    made = turn()
    assert [m.delta for m in said(made, Delta("a"))[2:]] == ["a"]
    (chunk,) = said(made, Delta("b"), Delta(""), Delta("c"))
    assert (chunk.seq, chunk.delta, chunk.from_seq) == (2, "bc", None)
    assert made.take() == []


def test_an_empty_delta_makes_no_chunk():
    assert kinds(said(turn(), Delta(""))) == [MessageStatus, MessageStart]


def test_the_start_comes_once_and_names_the_backends_message():
    heard = said(
        turn(), Started("m-1"), Status("thinking"), Delta("a"), Status("building"), Tool("c", "n", "call")
    )
    assert kinds(heard) == [MessageStatus, MessageStart, MessageChunk, MessageStatus, MessageTool]
    assert [m.message_id for m in heard] == [None, "m-1", "m-1", "m-1", "m-1"]


def test_a_backend_without_a_name_leaves_ours():
    assert said(turn(), Started())[1].message_id == "ours"


def test_the_end_carries_the_text_and_the_answer_follows():
    heard = said(turn(), Delta("Hel"), Delta("lo"), Finished("length"))
    assert kinds(heard) == [MessageStatus, MessageStart, MessageChunk, MessageEnd, NewMessage]
    assert (heard[3].content, heard[3].finish_reason, heard[3].error) == ("Hello", "length", None)
    assert (heard[4].content, heard[4].streamed, heard[4].created_at) == ("Hello", True, "now")


def test_an_end_without_text_gives_no_answer():
    assert kinds(said(turn(), Started(), Finished("cancelled")))[2:] == [MessageEnd]


@pytest.mark.parametrize(
    ("error", "hidden", "shown"),
    [
        (BackendCut("x"), "error", "interrupted"),
        (BackendStalled("x"), "timeout", "interrupted"),
        (BackendFailed("x"), "error", "error"),
        (errors.BackendSilent("x"), "timeout", "timeout"),
        (errors.TurnOverdue("x"), "timeout", "timeout"),
        (errors.TurnInterrupted("x"), "interrupted", "interrupted"),
        (errors.BackendRefused(503), "error", "error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_a_failure_knows_its_finish_reason(error, hidden, shown):
    assert said(turn(), Failed(error))[-1].finish_reason == hidden
    heard = said(turn(), Delta("a"), Failed(error))
    assert heard[-2].finish_reason == shown
    assert heard[-2].error[0] == error.code


@given(st.text("a🌞é\x00안", max_size=12), st.data())
def test_text_cut_inside_characters_comes_out_whole(text, data):
    coded = text.encode("utf-16-le")
    units = [coded[n : n + 2].decode("utf-16-le", "surrogatepass") for n in range(0, len(coded), 2)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(units)), max_size=4)))
    made, heard = turn(), []
    for begin, end in itertools.pairwise([0, *cuts, len(units)]):
        heard += said(made, Delta("".join(units[begin:end])))
    heard += said(made, Finished())
    chunks = [m.delta for m in heard if isinstance(m, MessageChunk)]
    for chunk in chunks:
        chunk.encode()
    assert "".join(chunks) == made.content == text


def test_half_a_pair_that_stays_alone_is_replaced():
    heard = said(turn(), Delta("a\ud83c"), Finished())
    assert heard[-2].content == "a\ufffd"
    assert said(turn(), Delta("\udf1ea"), Finished())[-2].content == "\ufffda"


def test_too_much_text_is_refused_and_changes_nothing():
    made = turn(limit=4)
    said(made, Delta("abc"))
    with pytest.raises(AnswerTooLarge):
        made.apply(Delta("é"))
    assert made.take() == []
    assert said(made, Delta("d"))[0].delta == "d"


def test_a_turn_that_does_not_stream_says_only_its_complete_message():
    heard = said(turn(streaming=False), Completed("whole", "w-1", {"createdAt": "then", "mood": "good"}))
    assert kinds(heard) == [NewMessage]
    assert (heard[0].message_id, heard[0].created_at, heard[0].streamed) == ("w-1", "then", False)
    assert said(turn(streaming=False), Failed(BackendCut("x"))) == []


def test_a_complete_answer_behind_a_start_keeps_its_name_and_ends_it():
    heard = said(turn(), Started("m-1"), Completed("whole", "w-1"))
    assert kinds(heard)[2:] == [MessageChunk, MessageEnd, NewMessage]
    assert {m.message_id for m in heard[2:]} == {"m-1"}


@pytest.mark.parametrize(
    "ending", [Completed("abc"), Finished("stop", "abc"), Failed(BackendCut("x"), "abc")]
)
def test_a_final_text_that_goes_on_behind_what_was_heard_is_one_more_chunk(ending):
    heard = said(turn(), Delta("a"), ending)
    assert [m.delta for m in heard if isinstance(m, MessageChunk)] == ["a", "bc"]
    assert [m.content for m in heard if isinstance(m, MessageEnd)] == ["abc"]
    assert heard[-1].streamed


def test_a_complete_answer_that_is_another_one_is_what_counts():
    made = turn()
    heard = said(made, Delta("a"), Completed("bc"))
    assert [m.delta for m in heard if isinstance(m, MessageChunk)] == ["a"]
    assert (heard[-2].content, heard[-1].content, made.differs) == ("bc", "bc", True)


def test_text_that_a_complete_answer_adds_to_a_cut_one_is_no_difference():
    made = turn()
    said(made, Delta("a"), Completed("abc"))
    assert not made.differs
    other = turn()
    said(other, Delta("a"), Finished("stop", "abc"))
    assert other.differs


def test_a_final_text_holds_whole_characters_only():
    assert said(turn(), Delta("a"), Finished("stop", "a\ud83d"))[-2].content == "a\ufffd"


def test_reasoning_is_a_status_and_no_text():
    heard = said(turn(), Reasoning("hm"), Reasoning("!"), Delta("a"), Finished())
    assert kinds(heard) == [MessageStatus, MessageStart, MessageChunk, MessageEnd, NewMessage]
    assert heard[-2].content == "a"


def test_reasoning_that_may_be_shown_is_a_message_of_its_own_in_its_place():
    made = turn(reasoning=True)
    heard = said(made, Reasoning("h\ud83d"), Reasoning("\udd14m"), Delta("a"), Reasoning("so"), Delta("b"))
    heard += said(made, Finished())
    told = [(type(m), m.delta) for m in heard if isinstance(m, MessageChunk | MessageReasoning)]
    assert told == [
        (MessageReasoning, "h🔔m"),
        (MessageChunk, "a"),
        (MessageReasoning, "so"),
        (MessageChunk, "b"),
    ]
    assert heard[-2].content == "ab"


def test_reasoning_that_was_heard_is_not_heard_twice():
    made = turn(reasoning=True)
    assert not made.shown
    said(made, Reasoning("hm"))
    assert made.shown


def test_the_name_of_a_conversation_is_told_in_the_end_and_in_the_answer():
    heard = said(turn(), Delta("a"), Conversation("c-42"), Finished())
    assert [payload(m)["conversationId"] for m in heard[-2:]] == ["c-42", "c-42"]


def test_a_second_start_keeps_the_name_of_the_first():
    heard = said(turn(), Started("m-1"), Started("m-2"), Delta("a"), Finished())
    assert kinds(heard).count(MessageStart) == 1
    assert {m.message_id for m in heard[1:]} == {"m-1"}


def test_a_final_text_that_differs_wins_and_is_noticed():
    made = turn()
    heard = said(made, Delta("a"), Finished("stop", "b"))
    assert (heard[-2].content, made.differs) == ("b", True)
    other = turn()
    said(other, Delta("a"), Finished("stop", "a"))
    assert not other.differs


def test_the_repr_says_where_a_turn_is():
    made = turn()
    said(made, Delta("abc"), Finished())
    assert repr(made) == "<Turn 'r' ended stop seq=1 bytes=3>"


IDS = {"requestId": "r", "roomId": 42, "messageId": "m"}
TOOL = {"toolCallId": "c", "name": "n", "state": "call"}
FAILED = {"finishReason": "error", "error": {"code": "c", "message": "why"}}
STOPPED = {"content": "x", "finishReason": "stop", "conversationId": 7}
WHOLE = {"role": "assistant", "content": "x", "createdAt": "now", "mood": 1}
THINKING = {"requestId": "r", "roomId": 42, "status": "thinking"}
FORGED = {"mood": 1, "role": "forged", "messageId": "forged"}
MERGED = {"seq": 3, "delta": "x", "fromSeq": 1}
WIRE = [
    (MessageStart("r", 42, "m"), "ai_message_start", IDS),
    (MessageChunk("r", 42, "m", 3, "x"), "ai_message_chunk", {**IDS, "seq": 3, "delta": "x"}),
    (MessageChunk("r", 42, "m", 3, "x", 1), "ai_message_chunk", {**IDS, **MERGED}),
    (
        MessageEnd("r", 42, "m", "x", "stop"),
        "ai_message_end",
        {**IDS, "content": "x", "finishReason": "stop"},
    ),
    (MessageEnd("r", 42, "m", "", "error", ("c", "why")), "ai_message_end", {**IDS, "content": "", **FAILED}),
    (MessageStatus("r", 42, None, "thinking"), "ai_message_status", THINKING),
    (
        MessageEnd("r", 42, "m", "x", "stop", None, 7),
        "ai_message_end",
        {**IDS, **STOPPED, "conversationId": 7},
    ),
    (MessageReasoning("r", 42, "m", "hm"), "ai_message_reasoning", {**IDS, "delta": "hm"}),
    (MessageTool("r", 42, "m", "c", "n", "call"), "ai_message_tool", {**IDS, **TOOL}),
    (
        MessageTool("r", 42, "m", "c", "n", "error", success=False, job_id="j"),
        "ai_message_tool",
        {**IDS, **TOOL, "state": "error", "success": False, "jobId": "j"},
    ),
    (NewMessage("r", 42, "m", "assistant", "x", "now", FORGED), "new_message", {**IDS, **WHOLE}),
]


@pytest.mark.parametrize(("message", "name", "wire"), WIRE, ids=[name for _, name, _ in WIRE])
def test_the_wire_shape_of_a_message(message, name, wire):
    assert (event_name(message), payload(message)) == (name, wire)


def test_a_position_in_the_middle_of_a_character_is_none():
    made = turn()
    said(made, Delta("a"), Position("1"), Delta("\ud83d"), Position("2"))
    assert made.position == "1"
    said(made, Delta("\udd14"), Position("3"))
    assert made.position == "3"
