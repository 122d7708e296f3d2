"""Each dialect's words, and the one meaning of a story that all of them tell."""

import json

import pytest

from bridge.dialects import DIALECTS, KINDS
from bridge.dialects.auto import HELD_LIMIT
from bridge.dialects.base import MALFORMED_IN_A_ROW, Frame
from bridge.errors import BackendCut, BackendFailed, BackendMalformed
from bridge.events import Conversation, Delta, Failed, Finished, Reasoning, Status, Tool
from bridge.messages import MessageChunk, MessageEnd, NewMessage
from bridge.turn import Turn


def frame(value, event=""):
    return Frame(value if isinstance(value, str) else json.dumps(value), event)


def named(*values):
    return [frame(value, value["type"]) for value in values]


def frames(*values):
    return [frame(value) for value in values]


def chunk(finish=None, **delta):
    return {"id": "cc-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def text_block(text):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def stopped(reason):
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {}}


def response(kind, **fields):
    return {"type": f"response.{kind}", "response": {"id": "resp-1", **fields}}


def output(text):
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def text(kind, delta):
    return {"type": f"response.{kind}.delta", "item_id": "i", "delta": delta}


TOKENS = [{"type": "token", "content": "Hel"}, {"type": "token", "content": "lo"}]
DELTAS = [{"type": "delta", "content": "Hel"}, {"type": "delta", "content": "lo"}]
ROLES = [
    {"role": "user", "delta": "my own"},
    {"role": "assistant", "delta": "Hel"},
    {"role": "assistant", "delta": "lo"},
]
UI = [
    {"type": "start", "messageId": "m-1"},
    {"type": "text-delta", "id": "0", "delta": "Hel"},
    {"type": "text-delta", "id": "0", "delta": "lo"},
]
CHUNKS = [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo")]
BLOCKS = [
    {"type": "message_start", "message": {"id": "msg-1"}},
    {"type": "ping"},
    text_block("Hel"),
    text_block("lo"),
]
RESPONSE = [response("created"), text("output_text", "Hel"), text("output_text", "lo")]

# one story in each dialect: the words before the end, a whole end, an error, and how the answer is named
STORIES = {
    "ui_message": (
        frames(*UI),
        frames({"type": "finish", "finishReason": "stop"}, "[DONE]"),
        frames(
            {"type": "error", "errorText": "secret"}, {"type": "finish", "finishReason": "error"}, "[DONE]"
        ),
        "m-1",
    ),
    "role_delta": (
        frames(*ROLES),
        frames("[DONE]"),
        [frame("secret, and no JSON", "error"), frame("[DONE]")],
        None,
    ),
    "token": (
        frames(*TOKENS),
        frames({"type": "complete"}),
        frames({"type": "error", "message": "secret"}),
        None,
    ),
    "stream_event": (
        frames({"type": "status", "status": "thinking"}, *DELTAS),
        frames({"type": "complete", "finalContent": "Hello"}, {"type": "finalized", "status": "success"}),
        frames({"type": "error", "error": "secret"}, {"type": "finalized", "status": "error"}),
        None,
    ),
    "chat_completions": (
        frames({"id": "", "choices": [], "prompt_filter_results": []}, *CHUNKS),
        frames(chunk("stop"), {"id": "cc-1", "choices": None, "usage": {}}, "[DONE]"),
        frames({"error": {"message": "secret"}}, "[DONE]"),
        "cc-1",
    ),
    "responses": (
        named(*RESPONSE),
        named(response("completed", output=[output("Hello")])),
        named(
            {"type": "error", "error": {"message": "secret"}, "sequence_number": 9},
            response("failed", error={}),
        ),
        "resp-1",
    ),
    "anthropic": (
        named(*BLOCKS),
        named(stopped("end_turn"), {"type": "message_stop"}),
        named({"type": "error", "error": {"type": "overloaded_error", "message": "secret"}}),
        "msg-1",
    ),
}
EACH = pytest.mark.parametrize("name", STORIES)


def events(name, said, *, eof=True):
    dialect = DIALECTS[name]({})
    found = [event for each in said for event in dialect.decode(each)]
    return found + dialect.eof() if eof else found


def heard(found):
    turn = Turn(
        request_id="r", room_id=1, message_id="ours", streaming=True, created_at=str, content_limit_bytes=999
    )
    for event in found:
        turn.apply(event)
    return turn, turn.take()


def ends_as(found):
    (ending,) = [event for event in found if isinstance(event, Finished | Failed)]
    assert found[-1] is ending
    return ending.reason if isinstance(ending, Finished) else type(ending.error)


@EACH
@pytest.mark.parametrize("auto", [False, True], ids=["named", "auto"])
def test_the_same_story_makes_the_same_messages(name, auto):
    said, whole, _, message_id = STORIES[name]
    turn, messages = heard(events("auto" if auto else name, said + whole))
    assert (turn.content, turn.finish_reason, turn.differs) == ("Hello", "stop", False)
    told = [
        type(message) for message in messages if isinstance(message, MessageChunk | MessageEnd | NewMessage)
    ]
    assert told == [MessageChunk, MessageEnd, NewMessage]
    assert {message.message_id for message in messages[1:]} == {message_id or "ours"}


@EACH
def test_an_error_inside_of_the_stream_is_no_success_whatever_follows_it(name):
    said, whole, error, _ = STORIES[name]
    for story in (said + error, said + error + whole):
        found = events(name, story)
        assert ends_as(found) is BackendFailed
        assert "secret" not in str(found[-1].error)
        assert heard(found)[0].content == "Hello"


@EACH
def test_the_end_of_the_bytes_before_the_end_of_the_answer_is_a_cut(name):
    said, whole, _, _ = STORIES[name]
    for cut in range(1, len(said) + 1):
        assert ends_as(events(name, said[:cut])) is BackendCut
    assert ends_as(events(name, said + whole)) == "stop"


@EACH
def test_what_follows_the_end_is_late(name):
    said, whole, error, _ = STORIES[name]
    end = frames({"type": "conversationCreated", "conversationId": "c-1"}) if name == "token" else []
    found = events(name, said + whole + end + said + error)
    assert heard(found)[0].content == "Hello"
    assert ends_as(found) == "stop"


@EACH
def test_words_of_unknown_kinds_and_wrong_shapes_say_nothing(name):
    said, whole, _, _ = STORIES[name]
    kinds = {value["type"] for each in said for value in [json.loads(each.data)] if "type" in value}
    wrong = [
        {},
        {"type": "something-new"},
        {"type": None},
        {"choices": "x"},
        {"choices": [7, {}]},
        {"role": 1},
    ]
    wrong += [{"type": kind, "delta": odd, "content": odd} for kind in kinds for odd in (None, 7, [], {})]
    turn, _ = heard(events(name, said + frames(*wrong) + whole))
    assert (turn.content, turn.finish_reason) == ("Hello", "stop")


@EACH
def test_what_cannot_be_read_is_skipped_and_counted_and_three_in_a_row_end_the_answer(name):
    said, whole, _, _ = STORIES[name]
    bad = frame('{"type": NaN')
    dialect = DIALECTS[name]({})
    found = [event for each in [bad, *said, bad, bad] for event in dialect.decode(each)]
    assert dialect.malformed == MALFORMED_IN_A_ROW
    found += [event for each in whole for event in dialect.decode(each)] + dialect.eof()
    assert ends_as(found) == "stop"
    assert ends_as(events(name, [*said, bad, bad, bad, *whole])) is BackendMalformed
    assert ends_as(events(name, [*said, bad])) is BackendMalformed


def test_each_dialect_is_told_from_all_others_by_every_frame_of_its_own():
    for name, (said, whole, error, _) in STORIES.items():
        for each in said + whole[:1] + error[:1]:
            value = json.loads(each.data) if each.data.startswith("{") else {}
            speakers = [kind.name for kind in KINDS if kind.speaks(each, value)]
            assert speakers in ([name], []), each


def test_auto_is_told_by_a_header_before_any_frame():
    dialect = DIALECTS["auto"]({"x-vercel-ai-ui-message-stream": "v1"})
    assert dialect.name == "ui_message"
    assert ends_as(dialect.eof()) is BackendCut


def test_auto_holds_what_tells_it_nothing_and_lets_it_count_once_it_knows():
    dialect = DIALECTS["auto"]({})
    assert dialect.decode(frame({"note": "no dialect's word"})) == []
    assert dialect.decode(frame("{oops")) == []
    assert dialect.name == "auto"
    assert dialect.decode(frame(TOKENS[0])) == [Delta("Hel")]
    assert (dialect.name, dialect.malformed) == ("token", 1)


def test_auto_does_not_choose_by_a_frame_that_two_dialects_can_have_said():
    dialect = DIALECTS["auto"]({})
    assert dialect.decode(frame({"role": "assistant", "delta": "Hel", "choices": []})) == []
    assert dialect.name == "auto"
    assert dialect.decode(frame({"role": "assistant", "delta": "lo"})) == [Delta("Hel"), Delta("lo")]


def test_auto_never_chooses_twice():
    found = events("auto", frames(*TOKENS, *UI, *DELTAS, {"type": "complete"}))
    assert heard(found)[0].content == "Hello"


@pytest.mark.parametrize(
    ("said", "ending"),
    [
        ([], BackendCut),
        (["[DONE]"], BackendCut),
        ([{"note": 1}], BackendMalformed),
        ([{"note": 1}] * HELD_LIMIT * 2, BackendMalformed),
        (["{oops"] * 4, BackendMalformed),
    ],
    ids=["nothing", "done", "unknown", "many unknown", "unreadable"],
)
def test_auto_that_cannot_know_says_so(said, ending):
    assert ends_as(events("auto", frames(*said))) is ending


FINISH = [
    (
        "ui_message",
        lambda reason: frames(*UI, {"type": "finish", "finishReason": reason}),
        "length",
        "length",
    ),
    ("ui_message", lambda _: frames(*UI, {"type": "abort", "reason": "user"}, "[DONE]"), "", "cancelled"),
    *(
        ("chat_completions", lambda reason: frames(*CHUNKS, chunk(reason), "[DONE]"), said, meant)
        for said, meant in {
            "length": "length",
            "tool_calls": "tool-calls",
            "function_call": "tool-calls",
            "content_filter": "content-filter",
            "new": "other",
        }.items()
    ),
    *(
        ("anthropic", lambda reason: named(*BLOCKS, stopped(reason), {"type": "message_stop"}), said, meant)
        for said, meant in {
            "stop_sequence": "stop",
            "max_tokens": "length",
            "model_context_window_exceeded": "length",
            "tool_use": "tool-calls",
            "refusal": "content-filter",
            "pause_turn": "other",
        }.items()
    ),
    *(
        (
            "responses",
            lambda why: named(*RESPONSE, response("incomplete", incomplete_details={"reason": why})),
            said,
            meant,
        )
        for said, meant in {
            "max_output_tokens": "length",
            "content_filter": "content-filter",
            "": "other",
        }.items()
    ),
    *(
        ("stream_event", lambda status: frames(*DELTAS, {"type": "finalized", "status": status}), said, meant)
        for said, meant in {"pending": "stop", "building": "stop", "new": "other"}.items()
    ),
]


@pytest.mark.parametrize(("name", "story", "said", "meant"), FINISH, ids=[f"{f[0]}-{f[2]}" for f in FINISH])
def test_finish_reasons(name, story, said, meant):
    assert ends_as(events(name, story(said))) == meant


def test_a_chat_completion_without_done_is_whole_by_its_finish_reason():
    assert ends_as(events("chat_completions", frames(*CHUNKS, chunk("stop")))) == "stop"
    assert ends_as(events("chat_completions", frames(*CHUNKS, "[DONE]"))) is BackendCut
    assert ends_as(events("chat_completions", frames(*CHUNKS, chunk("")))) is BackendCut


def test_a_refusal_is_text_and_content_filter():
    refused = frames(chunk(refusal="No."), chunk("stop"), "[DONE]")
    assert events("chat_completions", refused)[1:] == [Delta("No."), Finished("content-filter")]
    refused = named(response("created"), text("refusal", "No."), response("completed", output=[]))
    assert events("responses", refused)[1:] == [Delta("No."), Finished("content-filter")]


def test_only_the_first_choice_counts():
    other = {"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    assert heard(events("chat_completions", frames(*CHUNKS, other, chunk("stop"))))[0].content == "Hello"


THINKS = {
    "ui_message": frames({"type": "reasoning-delta", "id": "r", "delta": "hm"}),
    "chat_completions": frames(chunk(reasoning_content="hm")),
    "responses": named(text("reasoning_summary_text", "hm")),
    "anthropic": named(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}
    ),
}


@pytest.mark.parametrize("name", THINKS)
def test_reasoning_is_told_apart_from_text(name):
    assert Reasoning("hm") in events(name, THINKS[name])


def test_a_deepseek_like_server_may_call_it_reasoning():
    assert Reasoning("hm") in events("chat_completions", frames(chunk(reasoning="hm")))


def call(index, **fields):
    return chunk(tool_calls=[{"index": index, **fields}])


TOOLS = {
    "ui_message": (
        frames(
            {"type": "tool-input-start", "toolCallId": "c", "toolName": "weather"},
            {"type": "tool-input-available", "toolCallId": "c", "toolName": "weather", "input": {}},
            {"type": "tool-output-available", "toolCallId": "c", "output": {}},
        ),
        ["start", "call", "result"],
    ),
    "chat_completions": (
        frames(
            call(0, id="c", function={"name": "weather", "arguments": ""}),
            call(0, function={"arguments": "{}"}),
            chunk("tool_calls"),
        ),
        ["start", "call"],
    ),
    "responses": (
        named(
            {
                "type": "response.output_item.added",
                "item": {"type": "function_call", "id": "i", "call_id": "c", "name": "weather"},
            },
            {"type": "response.function_call_arguments.delta", "item_id": "i", "delta": "{}"},
            {"type": "response.function_call_arguments.done", "item_id": "i", "arguments": "{}"},
        ),
        ["start", "call"],
    ),
    "anthropic": (
        named(
            {
                "type": "content_block_start",
                "index": 1,
                "content_block": {"type": "server_tool_use", "id": "c", "name": "weather"},
            },
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "input_json_delta", "partial_json": ""},
            },
            {"type": "content_block_stop", "index": 1},
            {
                "type": "content_block_start",
                "index": 2,
                "content_block": {"type": "web_search_tool_result", "tool_use_id": "c", "content": []},
            },
        ),
        ["start", "call", "result"],
    ),
}


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_call_is_told_from_its_start_to_its_result(name):
    said, states = TOOLS[name]
    found = events(name, said)
    assert [event for event in found if isinstance(event, Tool)] == [Tool("c", "weather", s) for s in states]
    assert Status("tool_calling") in found


def test_the_arguments_of_two_calls_may_interleave():
    said = frames(
        call(0, id="a", function={"name": "one"}),
        call(1, id="b", function={"name": "two"}),
        call(0, function={"arguments": "{"}),
        call(1, function={"arguments": "{"}),
        chunk("tool_calls"),
    )
    states = [(t.tool_call_id, t.state) for t in events("chat_completions", said) if isinstance(t, Tool)]
    assert states == [("a", "start"), ("b", "start"), ("a", "call"), ("b", "call")]


def test_a_function_call_of_before_there_were_tools():
    said = frames(chunk(function_call={"name": "weather", "arguments": ""}), chunk("function_call"))
    names = [(t.name, t.state) for t in events("chat_completions", said) if isinstance(t, Tool)]
    assert names == [("weather", "start"), ("weather", "call")]


def test_an_answer_that_ends_in_a_function_call_wants_the_tool():
    done = response("completed", output=[output("x"), {"type": "function_call", "call_id": "c"}])
    assert ends_as(events("responses", named(done))) == "tool-calls"


def test_a_built_in_tool_of_a_response_is_a_status():
    busy = {"type": "response.web_search_call.in_progress", "item_id": "i"}
    assert events("responses", named(busy), eof=False) == [Status("tool_calling")]


def test_the_final_text_of_a_dialect_wins():
    for name, said in {
        "token": frames(*TOKENS, {"type": "complete", "content": "Hello!"}),
        "stream_event": frames(
            *DELTAS,
            {"type": "complete", "finalContent": "Hello!"},
            {"type": "finalized", "status": "success"},
        ),
        "responses": named(*RESPONSE, response("completed", output=[output("Hello!")])),
    }.items():
        turn, _ = heard(events(name, said))
        assert (turn.content, turn.finish_reason, turn.differs) == ("Hello!", "stop", True), name


def test_a_step_that_is_taken_back_is_not_in_the_final_text():
    step, back = {"type": "start-step"}, {"type": "reset-step"}
    again = {"type": "text-delta", "id": "1", "delta": "Bye"}
    turn, _ = heard(events("ui_message", frames(step, *UI, step, *UI[1:], back, again, {"type": "finish"})))
    assert (turn.content, turn.differs) == ("HelloBye", True)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_conversation_may_be_named_at_any_moment(place):
    said = frames(*TOKENS, {"type": "complete"})
    said.insert(place, frame({"type": "conversationCreated", "conversationId": "c-42"}))
    found = events("token", said)
    assert [event for event in found if isinstance(event, Conversation)] == [Conversation("c-42")]
    assert ends_as(found) == "stop"


def test_a_complete_answer_waits_for_the_name_of_its_conversation_and_says_that_it_is_whole():
    dialect = DIALECTS["token"]({})
    assert [dialect.decode(each) for each in frames(*TOKENS, {"type": "complete"})][-1] == []
    assert dialect.whole
    ended = dialect.decode(frame({"type": "conversationCreated", "conversationId": 42}))
    assert ended == [Conversation(42), Finished("stop")]


def test_a_conversation_with_a_name_that_cannot_be_on_the_wire_has_none():
    odd = frame({"type": "conversationCreated", "conversationId": "<script>"})
    assert not [event for event in events("token", [odd]) if isinstance(event, Conversation)]


def test_a_tool_of_a_stream_event_has_the_number_of_its_call_and_says_how_it_went():
    start = {"type": "tool_start", "name": "build"}
    went = {"type": "tool_result", "name": "build", "success": True, "jobId": "job-1", "finalContent": "x"}
    failed = {"type": "tool_result", "name": "build", "success": False}
    found = events("stream_event", frames(start, went, failed), eof=False)
    assert found == [
        Tool("tool-1", "build", "start"),
        Tool("tool-1", "build", "result", success=True, job_id="job-1"),
        Tool("tool-2", "build", "start"),
        Tool("tool-2", "build", "error", success=False),
    ]


def test_an_error_of_a_stream_event_brings_the_text_that_is_kept():
    said = frames(*DELTAS, {"type": "error", "error": "boom", "finalContent": "Hello (interrupted)"})
    turn, _ = heard(events("stream_event", said))
    assert (turn.content, turn.finish_reason) == ("Hello (interrupted)", "error")


def test_a_building_answer_says_so():
    found = events("stream_event", frames({"type": "finalized", "status": "building", "jobId": "j"}))
    assert found == [Status("building"), Finished("stop")]


ENVELOPE = [frame({}, "connected"), *frames(*DELTAS), frame("", "ping"), Frame("[0]", "restore-id")]


@pytest.mark.parametrize("auto", ["auto", "stream_event"])
def test_the_envelope_of_trpc_says_nothing_but_its_end(auto):
    end = frame({"type": "finalized", "status": "success"})
    assert heard(events(auto, [*ENVELOPE, end, frame("x", "return")]))[0].content == "Hello"
    assert ends_as(events(auto, [*ENVELOPE, frame("x", "return")])) is BackendCut
    assert ends_as(events(auto, [*ENVELOPE, frame({"json": {}}, "serialized-error")])) is BackendFailed


@pytest.mark.parametrize(
    "wrap",
    [lambda v: {"json": v, "meta": {}}, lambda v: {"result": {"type": "data", "data": v}}],
    ids=["json", "result"],
)
@pytest.mark.parametrize("auto", ["auto", "stream_event"])
def test_a_stream_event_may_be_wrapped(auto, wrap):
    said = frames(*map(wrap, [*DELTAS, {"type": "finalized", "status": "success"}]))
    assert ends_as(events(auto, said)) == "stop"
    assert heard(events(auto, said))[0].content == "Hello"


def test_a_role_delta_error_may_come_without_its_name():
    assert ends_as(events("role_delta", frames(*ROLES, {"error": "secret"}, "[DONE]"))) is BackendFailed
