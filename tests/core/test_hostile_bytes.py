"""Told stories are heard as they were told; spoiled ones end once, and as a second reader reads them."""

import itertools
import json
from itertools import chain

import pytest
from hypothesis import given, settings
from stories import (
    HOSTILE,
    NAMES,
    TELLERS,
    Broken,
    events,
    framed,
    heard,
    names,
    oversized,
    pieces,
    seeded,
    seeds,
    spoiled,
    tell,
    written,
)
from strict_dialects import Meaning, read

from bridge.errors import BackendMalformed
from bridge.framing import EVENT_LIMIT_BYTES, LINE_LIMIT_BYTES

STORIES, SPOILED, SHORT_BYTES = 120, 250, 350


def check_told(chance, name):
    first = chance.random() < 0.5
    story = tell(chance, name, text_first=first)
    stream = written(chance, story.frames)
    assert read(name, stream) == story.meaning, stream
    assert heard(name, pieces(chance, stream), take_each=first) == story.meaning, stream
    if first:
        assert heard("auto", [stream]) == story.meaning, stream


def check_spoiled(chance, name):
    stream = spoiled(chance, tell(chance, name))
    if not oversized(stream):
        parts = pieces(chance, stream)
        assert list(chain(*framed(parts))) == list(chain(*framed([stream]))), parts
        assert heard(name, parts, take_each=len(parts) > 3) == read(name, stream), stream


@pytest.mark.parametrize("name", NAMES)
def test_a_story_is_heard_as_it_was_told(name):
    for number in range(STORIES):
        check_told(seeded("told", number), name)


@given(names, seeds)
@settings(max_examples=60, deadline=None)
def test_any_story_is_heard_as_it_was_told(name, chance):
    check_told(chance, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_spoiled_stream_ends_once_and_says_what_the_strict_reader_reads(name):
    for number in range(SPOILED):
        check_spoiled(seeded("spoiled", number), name)


@given(names, seeds)
@settings(max_examples=60, deadline=None)
def test_any_spoiled_stream_ends_once_and_says_what_the_strict_reader_reads(name, chance):
    check_spoiled(chance, name)


def short_stories(name):
    chances = (seeded("short", number) for number in itertools.count())
    told = ((chance, tell(chance, name, text_first=True)) for chance in chances)
    found = ((written(chance, story.frames), story.meaning) for chance, story in told)
    return itertools.islice((each for each in found if len(each[0]) < SHORT_BYTES), 2)


@pytest.mark.parametrize("name", NAMES)
def test_no_cut_of_the_network_changes_what_is_heard(name):
    for stream, meaning in short_stories(name):
        for cut in range(len(stream) + 1):
            assert heard(name, [stream[:cut], stream[cut:]]) == meaning, (cut, stream)
        assert heard("auto", [stream[n : n + 1] for n in range(len(stream))]) == meaning, stream


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_that_breaks_off_anywhere_is_read_as_far_as_it_came(name):
    for stream, _ in short_stories(name):
        for end in range(0, len(stream), 4):
            assert heard(name, [stream[:end]]) == read(name, stream[:end]), stream[:end]


READABLE = ("{}", '{"n": 1e999', '{"type": 1e999', '{"type": -1e', '{"type": "\\', '{"__proto__', '{"\\udc00')
UNREADABLE = [text for text in HOSTILE if not text.startswith(READABLE)]


def lines(*frames):
    return "".join(f"data: {frame}\n\n" for frame in frames).encode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", UNREADABLE, ids=lambda data: ascii(data[:9]))
def test_a_frame_that_is_no_object_is_skipped_but_for_the_last_and_the_third(name, data):
    _, text, *_ = TELLERS[name]
    a, b = (json.dumps(text(piece)[1]) for piece in "ab")
    assert heard(name, [lines(data, data, a, data, data, b)]) == Meaning("ab", "cut")
    assert heard(name, [lines(a, data)]) == Meaning("a", "malformed")
    assert heard(name, [lines(a, data, data, data, b)]) == Meaning("a", "malformed")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", sorted({*HOSTILE} - {*UNREADABLE}), ids=lambda data: ascii(data[:20]))
def test_an_odd_object_says_nothing(name, data):
    _, text, *_ = TELLERS[name]
    a, b = (json.dumps(text(piece)[1]) for piece in "ab")
    assert heard(name, [lines(a, data, data, data, b, data)]) == Meaning("ab", "cut")


@pytest.mark.parametrize("endless", [b"x" * LINE_LIMIT_BYTES, b"[\ndata: " * (EVENT_LIMIT_BYTES // 6)])
def test_what_passes_the_limits_is_refused_and_nothing_else_happens(endless):
    start = b'data: {"type": "token", "content": "a"}\n\n'
    for parts in ([start + b"data: " + endless], [start, b"data: ", endless[:9], endless[9:]]):
        with pytest.raises(BackendMalformed):
            heard("token", [*parts, b"\n\n"])


HALF = "\\ud800"
NAMED_ODDLY = {
    "message": ("ui_message", f'{{"type": "start", "messageId": "{HALF}"}}'),
    "tool": ("ui_message", f'{{"type": "tool-input-start", "toolCallId": "{HALF}", "toolName": "{HALF}"}}'),
    "status": ("stream_event", f'{{"type": "status", "status": "{HALF}"}}'),
    "job": ("stream_event", f'{{"type": "tool_result", "name": "{HALF}", "jobId": "{HALF}"}}'),
    "chunk": ("chat_completions", f'{{"id": "{HALF}", "choices": [{{"delta": {{"content": "a"}}}}]}}'),
    "response": ("responses", f'{{"type": "response.created", "response": {{"id": "{HALF}"}}}}'),
    "anthropic": ("anthropic", f'{{"type": "message_start", "message": {{"id": "{HALF}"}}}}'),
    "conversation": ("token", f'{{"type": "conversationCreated", "conversationId": "{HALF}"}}'),
}


@pytest.mark.parametrize(("name", "data"), NAMED_ODDLY.values(), ids=NAMED_ODDLY)
def test_halves_of_pairs_in_names_never_reach_a_room(name, data):
    heard(name, [lines(data, '{"type": "x"}')])


def test_who_hears_two_endings_or_none_would_know(monkeypatch):
    monkeypatch.setattr("stories.events", lambda *_: [])
    with pytest.raises(Broken):
        heard("token", [])


SAMPLES = {
    "ui_message": (
        "ui_message",
        [
            'data: {"type":"start","messageId":"m"}',
            'data: {"type":"text-start","id":"0"}',
            'data: {"type":"text-delta","id":"0","delta":"Good "}',
            'data: {"type":"text-end","id":"0"}',
            'data: {"type":"text-delta","id":"1","delta":"day"}',
            'data: {"type":"finish"}',
            "data: [DONE]",
        ],
        ("Good day", "stop"),
    ),
    "ui_message, a step taken back": (
        "ui_message",
        [
            'data: {"type":"start-step"}',
            'data: {"type":"text-delta","id":"0","delta":"kept "}',
            'data: {"type":"finish-step"}',
            'data: {"type":"start-step"}',
            'data: {"type":"text-delta","id":"1","delta":"wrong"}',
            'data: {"type":"reset-step"}',
            'data: {"type":"text-delta","id":"2","delta":"right"}',
            'data: {"type":"finish","finishReason":"length"}',
        ],
        ("kept right", "length"),
    ),
    "ui_message, an error before its finish": (
        "ui_message",
        [
            ": stream-open",
            'data: {"type":"text-delta","id":"0","delta":"Ha"}',
            'data: {"type":"error","errorText":"model gone"}',
            'data: {"type":"finish","finishReason":"error"}',
            "data: [DONE]",
        ],
        ("Ha", "failed"),
    ),
    "role_delta": (
        "role_delta",
        [
            'data:{"role":"user","delta":"and you?"}',
            'data:{"role":"assistant","delta":"Fi"}',
            'data:{"role":"assistant","delta":"ne"}',
            "data:[DONE]",
        ],
        ("Fine", "stop"),
    ),
    "role_delta, an error": (
        "role_delta",
        [
            'data:{"role":"assistant","delta":"Fi"}',
            "event: error\ndata:no model, sorry",
            "data:[DONE]",
        ],
        ("Fi", "failed"),
    ),
    "role_delta, an error whose text is no end": (
        "role_delta",
        [
            'data:{"role":"assistant","delta":"Fi"}',
            "event: error\ndata:[DONE]",
        ],
        ("Fi", "failed"),
    ),
    "token, its conversation in between": (
        "token",
        [
            'data: {"type":"token","content":"On"}',
            'data: {"type":"conversationCreated","conversationId":"c"}',
            'data: {"type":"token","content":"e"}',
            'data: {"type":"complete"}',
        ],
        ("One", "stop"),
    ),
    "token, its conversation last": (
        "token",
        [
            'data: {"type":"token","content":"On"}',
            'data: {"type":"complete","content":"One"}',
            'data: {"type":"conversationCreated","conversationId":"c"}',
        ],
        ("One", "stop"),
    ),
    "stream_event in the envelope of tRPC": (
        "stream_event",
        [
            'event: connected\ndata: {"reconnectAfterInactivityMs":1000}\n',
            'data: {"type":"delta","content":"Tw"}\nid: 1\n',
            "event: ping\ndata: \n",
            'data: {"type":"complete","finalContent":"Two"}\nid: 2\n',
            'data: {"type":"finalized","status":"pending","jobId":null}\nid: 3\n',
            "event: return\ndata: \n",
        ],
        ("Two", "stop"),
    ),
    "stream_event, an error with what was kept": (
        "stream_event",
        [
            'data: {"type":"delta","content":"Thr"}',
            'data: {"type":"error","error":"quota","finalContent":"Thr ..."}',
            'data: {"type":"finalized","status":"error"}',
        ],
        ("Thr ...", "failed"),
    ),
    "stream_event, never finalized": (
        "stream_event",
        [
            'data: {"type":"delta","content":"Thr"}',
            'data: {"type":"complete","finalContent":"Three"}',
        ],
        ("Three", "cut"),
    ),
    "chat_completions with filter results, usage and no [DONE]": (
        "chat_completions",
        [
            'data: {"id":"","choices":[],"prompt_filter_results":[]}',
            'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
            'data: {"id":"c","choices":[{"index":0,"delta":{"content":"4"},"finish_reason":null}]}',
            'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}',
            'data: {"id":"c","choices":null,"usage":{"total_tokens":1}}',
        ],
        ("4", "length"),
    ),
    "chat_completions, an error before [DONE]": (
        "chat_completions",
        [
            'data: {"id":"c","choices":[{"index":0,"delta":{"content":"4"},"finish_reason":"stop"}]}',
            'data: {"error":{"message":"gone","type":"server_error"}}',
            "data: [DONE]",
        ],
        ("4", "failed"),
    ),
    "responses, ending with a call": (
        "responses",
        [
            'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}',
            'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Five"}',
            (
                "event: response.completed\n"
                'data: {"type":"response.completed","response":{"output":['
                '{"type":"message","content":[{"type":"output_text","text":"Five"}'
                ']},{"type":"function_call","id":"f","call_id":"c","name":"now"}]}}'
            ),
        ],
        ("Five", "tool-calls"),
    ),
    "responses, failed and told twice": (
        "responses",
        [
            'event: error\ndata: {"type":"error","code":"x","message":"m","sequence_number":1}',
            'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":"x"}}}',
        ],
        ("", "failed"),
    ),
    "anthropic": (
        "anthropic",
        [
            'event: message_start\ndata: {"type":"message_start","message":{"id":"m"}}',
            'event: ping\ndata: {"type":"ping"}',
            (
                "event: content_block_delta\n"
                'data: {"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"?"}}'
            ),
            (
                "event: content_block_delta\n"
                'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Six"}}'
            ),
            'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"pause_turn"}}',
            'event: message_stop\ndata: {"type":"message_stop"}',
        ],
        ("Six", "other"),
    ),
    "anthropic, overloaded": (
        "anthropic",
        [
            (
                "event: content_block_delta\n"
                'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Si"}}'
            ),
            'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}',
        ],
        ("Si", "failed"),
    ),
    "records without ids that only look alike": (
        "token",
        [
            'id:\ndata: {"type":"token","content":"ha"}',
            'id:\ndata: {"type":"token","content":"ha"}',
            'data: {"type":"complete"}',
        ],
        ("haha", "stop"),
    ),
    "a record that came twice": (
        "token",
        [
            'id: 1\ndata: {"type":"token","content":"ha"}',
            'id: 1\ndata: {"type":"token","content":"ha"}',
            'id: 2\ndata: {"type":"complete"}',
        ],
        ("ha", "stop"),
    ),
}


@pytest.mark.parametrize(("name", "sample", "meaning"), SAMPLES.values(), ids=SAMPLES)
def test_plain_samples_mean_what_their_formats_say(name, sample, meaning):
    stream = "".join(f"{record}\n\n" for record in sample).encode()
    assert read(name, stream) == meaning
    assert heard(name, [stream]) == meaning
    assert heard(name, [stream[n : n + 1] for n in range(len(stream))], take_each=True) == meaning
    if meaning[1] != "cut":
        assert repr(events(name, [stream, stream])) == repr(events(name, [stream])), "nothing after the end"
