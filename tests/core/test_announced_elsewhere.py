"""A turn whose complete messages another server tells: all is heard but those; its end keeps the answer."""

import dataclasses

import pytest

from bridge import codec
from bridge.errors import BackendCut, BackendRefused
from bridge.events import Completed, Delta, Failed, Finished, Started, Stored
from bridge.messages import Answered, MessageChunk, MessageEnd, NewMessage, payload
from bridge.turn import Turn

JSON = {"Content-Type": "application/json"}


def told(*events, announced_elsewhere=True):
    turn = Turn(
        request_id="r",
        room_id=42,
        message_id="ours",
        streaming=True,
        created_at=lambda: "now",
        content_limit_bytes=1000,
        announced_elsewhere=announced_elsewhere,
    )
    for event in events:
        turn.apply(event)
    return turn.take()


ENDINGS = {
    "its end": [Started("m"), Delta("Hi"), Finished()],
    "a cut": [Started("m"), Delta("Hi"), Failed(BackendCut("cut"))],
    "the complete call, before any text": [Completed("Hi", "m")],
    "the complete call, behind some": [Started("m"), Delta("H"), Completed("Hi", "w")],
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_room_hears_chunks_and_an_end_and_no_complete_message(name):
    messages = told(*ENDINGS[name])
    assert "".join(each.delta for each in messages if isinstance(each, MessageChunk)) == "Hi"
    assert not [each for each in messages if isinstance(each, NewMessage)]
    end = messages[-1]
    assert isinstance(end, MessageEnd)
    assert (end.message_id, end.content, end.created_at) == ("m", "Hi", "now")


REFUSED = BackendRefused(429, 3.0, "wait", {"Retry-After": "3"})
ANSWERS = {
    "a stored message": ([Started("m"), Stored("{}"), Finished()], Answered(200, JSON, "{}")),
    "a complete call": ([Completed("Hi", "m", body='{"a":1}')], Answered(200, JSON, '{"a":1}')),
    "a refusal": ([Failed(REFUSED)], Answered(429, {"Retry-After": "3"}, "wait")),
    "a stored message before a refusal": ([Stored("{}"), Failed(REFUSED)], Answered(200, JSON, "{}")),
    "nothing": ([Started("m"), Delta("Hi"), Finished()], None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_end_keeps_what_the_backend_answered_through_the_journal_and_off_the_wire(name):
    events, answered = ANSWERS[name]
    end = told(*events)[-1]
    assert end.answered == answered
    assert codec.decode(codec.encode([end])) == [end]
    plain = dataclasses.replace(end, answered=None, created_at="")
    assert payload(end) == payload(plain)


def test_the_end_of_any_other_turn_keeps_nothing():
    messages = told(*ANSWERS["a stored message"][0], announced_elsewhere=False)
    end = next(each for each in messages if isinstance(each, MessageEnd))
    assert (end.answered, end.created_at) == (None, "")
