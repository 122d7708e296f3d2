"""How far a device has heard, as a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.messages import MessageChunk, MessageEnd, MessageStart, MessageStatus, NewMessage
from bridge.positions import BEHIND_ALL, HEARD_LIMIT, Positions
from bridge.transcript import Applied

IDS = ("r", 1, "m")
START, END = MessageStart(*IDS), MessageEnd(*IDS, "ab", "stop")
ANSWER = NewMessage(*IDS, "assistant", "ab", "now", {}, True)


def heard(*messages, text="", complete_follows=True):
    positions = Positions(text, complete_follows=complete_follows)
    return positions, [positions.take(message) for message in messages]


def test_an_answer_is_named_until_it_is_heard_whole():
    positions = Positions(complete_follows=True)
    texts = []
    for message in (START, MessageChunk(*IDS, 1, "a"), MessageChunk(*IDS, 3, "b", 2), END, ANSWER):
        assert positions.take(message) is Applied.APPLIED
        texts.append(str(positions))
    assert texts == ["m=0", "m=1", "m=3", "m=e", "m=x"]


def test_where_no_complete_message_follows_the_end_is_the_last_word():
    positions, _ = heard(START, END, complete_follows=False)
    assert str(positions) == "m=x"
    positions, _ = heard(START, MessageEnd(*IDS, "", "error"))
    assert str(positions) == "m=x"


def test_what_was_heard_is_not_heard_again():
    for text in ("m=x", "m=e"):
        _, applied = heard(START, MessageChunk(*IDS, 1, "a"), END, MessageStatus(*IDS, "thinking"), text=text)
        assert set(applied) == {Applied.DUPLICATE}
    assert heard(ANSWER, text="m=e")[1] == [Applied.APPLIED]
    assert heard(ANSWER, text="m=x")[1] == [Applied.DUPLICATE]
    assert heard(START, MessageChunk(*IDS, 2, "b"), text="m=2")[1] == [Applied.DUPLICATE] * 2


def test_a_gap_and_an_overlap_are_known():
    assert heard(MessageChunk(*IDS, 4, "d"), text="m=2")[1] == [Applied.GAP]
    assert heard(MessageChunk(*IDS, 4, "cd", 2), text="m=2")[1] == [Applied.GAP]
    assert heard(MessageChunk(*IDS, 4, "cd", 3), text="m=2")[1] == [Applied.APPLIED]


def test_a_join_resumes_what_is_not_whole():
    positions = Positions("a=7,b=e,c=x", complete_follows=True)
    assert positions.resume == {"a": 7, "b": BEHIND_ALL}
    positions.forget(["a", "b"])
    assert str(positions) == "c=x"


def test_only_the_last_few_whole_messages_stay_named():
    positions = Positions(complete_follows=False)
    for number in range(3 * HEARD_LIMIT):
        positions.take(MessageEnd("r", 1, f"m-{number}", "x", "stop"))
    assert str(positions).count("=x") == HEARD_LIMIT


@pytest.mark.parametrize(
    "text", ["", "junk", "m=", "=1", "m=-1", "m=1,", "m=٣", "m=" + "9" * 17, "m=1=2", "a b=1", "m=1," * 99]
)
def test_an_id_that_cannot_be_ours_says_nothing(text):
    assert not Positions(text, complete_follows=True).resume


@given(st.text(max_size=300))
def test_whatever_a_client_sends_is_read(text):
    again = str(Positions(text, complete_follows=True))
    assert str(Positions(again, complete_follows=True)) == again


names = st.from_regex(r"\A[A-Za-z0-9_.:\-]{1,20}\Z")
states = st.one_of(st.integers(0, BEHIND_ALL).map(str), st.sampled_from("ex"))


@given(st.dictionaries(names, states, max_size=12))
def test_what_is_written_is_read_again(known):
    text = ",".join(f"{name}={state}" for name, state in known.items())
    positions = Positions(text, complete_follows=True)
    assert sorted(str(positions).split(",")) == sorted(text.split(","))
