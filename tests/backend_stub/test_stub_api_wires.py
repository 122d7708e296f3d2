import json

import pytest
from stub_posts import BEARER, KEY, TEXT, TOKENS, WEATHER, data, names, objects, post, posted


@pytest.fixture
def caller(brief_caller):
    return brief_caller


# chat completions


def completion(text="Hi", **more):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


def chunk(raw, delta, finish_reason=None, **more):
    first = objects(raw)[0]
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
    return {
        "id": first["id"],
        "object": "chat.completion.chunk",
        "created": first["created"],
        "model": "gpt-4o-mini",
        "service_tier": "default",
        "system_fingerprint": first["system_fingerprint"],
        "choices": choices,
        **more,
    }


USAGE = {
    "prompt_tokens": 1,
    "completion_tokens": 3,
    "total_tokens": 4,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


async def test_chat_completions_stream_as_openai_sends_them(caller):
    raw = await post(caller, "/v1/chat/completions", completion(stream=True), BEARER)
    assert raw == b"".join(
        (
            data(chunk(raw, {"role": "assistant", "content": "", "refusal": None})),
            *(data(chunk(raw, {"content": token})) for token in TOKENS),
            data(chunk(raw, {}, "stop")),
            b"data: [DONE]\n\n",
        )
    )
    assert objects(raw)[0]["id"].startswith("chatcmpl-")
    assert objects(raw)[0]["created"] > 1_700_000_000


async def test_the_usage_chunk_comes_when_it_is_asked_for(caller):
    body = completion(stream=True, stream_options={"include_usage": True})
    values = objects(await post(caller, "/v1/chat/completions", body, BEARER))
    assert [value["usage"] for value in values] == [None] * 5 + [USAGE]
    assert values[-1]["choices"] == []


async def test_a_chat_completion_in_one_piece(caller):
    for body in (completion(), completion(stream=False)):
        told = await posted(caller, "/v1/chat/completions", body, BEARER)
        assert told["object"] == "chat.completion"
        assert told["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ]
        assert told["usage"] == USAGE


async def test_chat_completions_end_on_the_call_of_a_tool(caller):
    body = completion(WEATHER, stream=True)
    raw = await post(caller, "/v1/chat/completions", body, BEARER)
    values = [value["choices"][0] for value in objects(raw)]
    assert "".join(value["delta"].get("content") or "" for value in values) == TEXT
    (begin,) = values[4]["delta"]["tool_calls"]
    call_id = begin.pop("id")
    assert call_id.startswith("call_")
    assert begin == {"index": 0, "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    arguments = [value["delta"]["tool_calls"][0]["function"]["arguments"] for value in values[5:8]]
    assert "".join(arguments) == '{"city":"Berlin"}'
    assert all(arguments)
    assert values[8] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}
    rows = await caller.stored(2, "v1")
    assert (rows[1]["finishReason"], rows[1]["status"]) == ("tool-calls", "success")


async def test_a_chat_completion_in_one_piece_holds_the_call(caller):
    told = await posted(caller, "/v1/chat/completions", completion(WEATHER), BEARER)
    choice = told["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city":"Berlin"}'}


async def test_a_tool_is_not_called_again_once_its_result_is_brought(caller):
    body = completion(WEATHER)
    body["messages"].append({"role": "tool", "tool_call_id": "call_1", "content": "{}"})
    told = await posted(caller, "/v1/chat/completions", body, BEARER)
    assert told["choices"][0]["finish_reason"] == "stop"


async def test_an_error_of_chat_completions_is_told_in_the_stream(caller):
    headers = BEARER | {"X-Stub-Fault": "error;after=1"}
    raw = await post(caller, "/v1/chat/completions", completion(stream=True), headers)
    error = {
        "message": "the model failed in the middle of its answer",
        "type": "server_error",
        "param": None,
        "code": "server_error",
    }
    assert raw.endswith(data({"error": error}) + b"data: [DONE]\n\n")
    assert len(objects(raw)) == 3


async def test_the_key_of_the_header_makes_it_the_same_request(caller):
    headers = BEARER | {"Idempotency-Key": "r1"}
    first = await post(caller, "/v1/chat/completions", completion(WEATHER, stream=True), headers)
    rows = await caller.stored(2, "v1")
    assert {row["requestId"] for row in rows} == {"r1"}
    again = await post(caller, "/v1/chat/completions", completion(WEATHER, stream=True), headers)
    assert again == first
    assert b'"finish_reason":"tool_calls"' in first


# responses


async def test_responses_stream_in_openai_order(caller):
    body = {"model": "gpt-4o-mini", "input": "Hi", "stream": True}
    raw = await post(caller, "/v1/responses", body, BEARER)
    values = objects(raw)
    assert names(raw) == [value["type"] for value in values]
    assert [value["sequence_number"] for value in values] == list(range(len(values)))
    assert raw == data(*values, event=True)
    assert names(raw) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [value["delta"] for value in values[4:7]] == TOKENS
    item_id = values[2]["item"]["id"]
    assert values[4] == {
        "type": "response.output_text.delta",
        "item_id": item_id,
        "output_index": 0,
        "content_index": 0,
        "delta": TOKENS[0],
        "logprobs": [],
        "sequence_number": 4,
    }
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": TEXT}
    item = {"id": item_id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    assert values[9]["item"] == item
    response = values[10]["response"]
    assert (response["status"], response["output"]) == ("completed", [item])
    assert response["usage"]["output_tokens"] == 3
    assert values[0]["response"]["status"] == "in_progress"
    assert response["id"].startswith("resp_")


async def test_a_response_in_one_piece(caller):
    message = {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    told = await posted(caller, "/v1/responses", {"model": "m", "input": [message]}, BEARER)
    assert (told["object"], told["status"], told["model"]) == ("response", "completed", "m")
    assert told["output"][0]["content"][0]["text"] == TEXT
    assert told["usage"]["total_tokens"] == 4


async def test_responses_end_on_the_call_of_a_tool(caller):
    body = {"model": "m", "input": WEATHER, "stream": True}
    raw = await post(caller, "/v1/responses", body, BEARER)
    values = objects(raw)
    assert names(raw)[10:] == [
        "response.output_item.added",
        *["response.function_call_arguments.delta"] * 3,
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert "".join(value["delta"] for value in values[11:14]) == '{"city":"Berlin"}'
    assert {value["output_index"] for value in values[10:16]} == {1}
    call = values[-1]["response"]["output"][-1]
    assert call == values[15]["item"]
    assert call.pop("id").startswith("fc_")
    assert call.pop("call_id").startswith("call_")
    assert call == {
        "type": "function_call",
        "status": "completed",
        "arguments": '{"city":"Berlin"}',
        "name": "get_weather",
    }


async def test_an_error_of_responses_is_followed_by_the_failed_response(caller):
    body = {"model": "m", "input": "Hi", "stream": True}
    headers = BEARER | {"X-Stub-Fault": "error;after=1"}
    raw = await post(caller, "/v1/responses", body, headers)
    assert names(raw)[-3:] == ["response.output_text.delta", "error", "response.failed"]
    error, failed = objects(raw)[-2:]
    assert error["error"]["message"] == "the model failed in the middle of its answer"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["message"] == error["error"]["message"]


# Anthropic messages


async def test_messages_stream_as_anthropic_sends_them(caller):
    raw = await post(caller, "/v1/messages", completion(stream=True, max_tokens=9), KEY)
    message = objects(raw)[0]["message"]
    assert message.pop("id").startswith("msg_")
    usage = message.pop("usage")
    assert (usage["input_tokens"], usage["output_tokens"]) == (1, 1)
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "gpt-4o-mini",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    assert raw[raw.index(b"\n\n") + 2 :] == data(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}}
            for token in TOKENS
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
        event=True,
    )
    assert raw.startswith(b"event: message_start\ndata: ")


async def test_a_message_in_one_piece(caller):
    body = completion([{"type": "text", "text": WEATHER}])
    told = await posted(caller, "/v1/messages", body, KEY)
    assert (told["type"], told["role"], told["stop_reason"]) == ("message", "assistant", "tool_use")
    text, call = told["content"]
    assert text == {"type": "text", "text": TEXT}
    assert call.pop("id").startswith("toolu_")
    assert call == {"type": "tool_use", "name": "get_weather", "input": {"city": "Berlin"}}


async def test_messages_end_on_the_call_of_a_tool(caller):
    raw = await post(caller, "/v1/messages", completion(WEATHER, stream=True), KEY)
    values = objects(raw)[6:]
    block = values[1]["content_block"]
    assert block.pop("id").startswith("toolu_")
    assert block == {"type": "tool_use", "name": "get_weather", "input": {}}
    parts = [value["delta"]["partial_json"] for value in values[2:6]]
    assert parts[0] == ""
    assert json.loads("".join(parts)) == {"city": "Berlin"}
    assert [value.get("index") for value in values[:7]] == [0, 1, 1, 1, 1, 1, 1]
    assert names(raw)[6:] == [
        "content_block_stop",
        "content_block_start",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert values[7]["delta"]["stop_reason"] == "tool_use"


async def test_a_tool_of_anthropic_is_not_called_again_once_its_result_is_brought(caller):
    body = completion(WEATHER)
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "{}"}
    body["messages"] += [{"role": "assistant", "content": []}, {"role": "user", "content": [result]}]
    assert (await posted(caller, "/v1/messages", body, KEY))["stop_reason"] == "end_turn"


async def test_nothing_follows_an_error_of_anthropic(caller):
    headers = KEY | {"X-Stub-Fault": "error;after=1"}
    raw = await post(caller, "/v1/messages", completion(stream=True), headers)
    why = "the model failed in the middle of its answer"
    failed = {"type": "error", "error": {"type": "api_error", "message": why}}
    assert raw.endswith(data(failed, event=True))
    assert names(raw)[-2:] == ["content_block_delta", "error"]


# who may call, and what a call must hold

OPENAI_CALLS = (
    ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}, "messages"),
    ("/v1/responses", {"model": "m", "input": "Hi"}, "input"),
)


@pytest.mark.parametrize(("path", "body", "needed"), OPENAI_CALLS)
async def test_openai_refuses_in_its_own_words(caller, path, body, needed):
    for headers in (None, {"Authorization": "Bearer "}, {"Authorization": "Basic x"}):
        error = (await posted(caller, path, body, headers, 401))["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    for missing in ("model", needed):
        said = {name: value for name, value in body.items() if name != missing}
        error = (await posted(caller, path, said, BEARER, 400))["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert missing in error["message"]
    for empty in ([], [{"role": "assistant", "content": "Hi"}], "", [5], None):
        await posted(caller, path, body | {needed: empty}, BEARER, 400)


async def test_anthropic_refuses_in_its_own_words(caller):
    for missing in KEY:
        headers = {name: value for name, value in KEY.items() if name != missing}
        told = await posted(caller, "/v1/messages", completion(), headers, 401)
        assert told["type"] == "error"
        assert told["error"]["type"] == "authentication_error"
        assert missing in told["error"]["message"]
    for missing in ("model", "messages"):
        said = {name: value for name, value in completion().items() if name != missing}
        told = await posted(caller, "/v1/messages", said, KEY, 400)
        assert told["error"]["type"] == "invalid_request_error"
        assert missing in told["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/messages/", {"chat_id": 1, "content": "Hi"}, {}),
        ("/api/v1/chat/complete", {"id": 1, "messages": [{"role": "user", "content": "Hi"}]}, {}),
        ("/api/trpc/chat.sendMessage", {"projectId": 1, "message": "Hi"}, {}),
        ("/v1/chat/completions", completion(), BEARER),
        ("/v1/responses", {"model": "m", "input": "Hi"}, BEARER),
        ("/v1/messages", completion(), KEY),
    ],
)
async def test_a_complete_call_whose_model_fails_is_an_error_of_the_server(caller, path, body, headers):
    said = headers | {"X-Stub-Fault": "error;after=1;on=both"}
    error = (await posted(caller, path, body, said, 500))["error"]
    assert "the model failed" in error["message"]


async def test_models_are_listed_and_found(caller):
    async def get(path, status, headers=BEARER):
        async with caller.session.get(caller.backend.base_url + path, headers=headers) as response:
            assert response.status == status
            return await response.json()

    told = await get("/v1/models", 200)
    assert told["object"] == "list"
    assert [model["id"] for model in told["data"]] == ["gpt-4o-mini", "built-in"]
    assert (await get("/v1/models/built-in", 200)) == told["data"][1]
    assert (await get("/v1/models/other", 404))["error"]["code"] == "model_not_found"
    for path in ("/v1/models", "/v1/models/built-in"):
        assert (await get(path, 401, {}))["error"]["code"] == "invalid_api_key"
