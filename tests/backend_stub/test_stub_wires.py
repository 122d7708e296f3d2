import json

import pytest
from stub_posts import TEXT, TOKENS, WEATHER, data, objects, post, posted


@pytest.fixture
def caller(brief_caller):
    return brief_caller


# the UI message stream


def chat(text, **more):
    parts = [{"type": "text", "text": text}]
    return {"id": "c1", "messages": [{"id": "m1", "role": "user", "parts": parts}], **more}


async def test_a_tool_is_run_before_the_text_of_a_ui_message(caller):
    heard = await caller.stream(content=WEATHER, messageId="m1")
    call_id = heard.frames[2].pop("toolCallId")
    assert call_id.startswith("call_")
    assert all(frame.pop("toolCallId") == call_id for frame in heard.frames[3:8])
    assert "".join(frame.pop("inputTextDelta") for frame in heard.frames[3:6]) == '{"city":"Berlin"}'
    sky = heard.frames[7]["output"].pop("sky")
    assert sky in ("clear", "cloudy", "rainy", "windy")
    assert isinstance(heard.frames[7]["output"].pop("celsius"), int)
    assert heard.frames[2:11] == [
        {"type": "tool-input-start", "toolName": "get_weather"},
        {"type": "tool-input-delta"},
        {"type": "tool-input-delta"},
        {"type": "tool-input-delta"},
        {"type": "tool-input-available", "toolName": "get_weather", "input": {"city": "Berlin"}},
        {"type": "tool-output-available", "output": {"city": "Berlin"}},
        {"type": "finish-step"},
        {"type": "start-step"},
        {"type": "text-start", "id": "text-1"},
    ]
    assert heard.ids == [str(number) for number in range(1, 18)]
    await caller.stored(2)
    assert (await caller.stream(content=WEATHER)).raw == heard.raw


async def test_use_chat_gets_the_same_stream_for_its_own_body(caller):
    raw = await post(caller, "/api/v1/chat", chat("Hi", trigger="submit-message"))
    kinds = [value["type"] for value in objects(raw)]
    assert kinds[:3] == ["start", "start-step", "text-start"]
    assert kinds[3:] == ["text-delta"] * 3 + ["text-end", "finish-step", "finish"]
    assert raw.startswith(b'id: 1\ndata: {"type":"start"')
    prompt, answer = await caller.stored(2, "c1")
    assert (prompt["requestId"], prompt["content"]) == ("m1", "Hi")
    assert answer["content"] == TEXT
    told = await posted(caller, "/api/v1/chat/complete", chat("Hi"))
    assert told == {
        "id": answer["messageId"],
        "role": "assistant",
        "parts": [{"type": "text", "text": TEXT}],
    }


async def test_use_chat_gets_another_answer_for_the_same_prompt_when_it_asks_for_one(caller):
    first = await posted(caller, "/api/v1/chat/complete", chat("Hi"))
    again = await posted(caller, "/api/v1/chat/complete", chat("Hi", trigger="regenerate-message"))
    assert first["id"] != again["id"]
    assert len(await caller.stored(4, "c1")) == 4


async def test_the_header_names_the_request_of_use_chat_before_the_prompt_does(caller):
    await post(caller, "/api/v1/chat", chat("Hi"), {"Idempotency-Key": "r7"})
    assert (await caller.stored(2, "c1"))[0]["requestId"] == "r7"


# role and delta


async def test_role_delta_tells_the_prompt_first_and_has_no_space_behind_data(caller):
    raw = await post(caller, "/stream/", {"chat_id": 7, "content": 'Hi "you"\n', "request_id": "r1"})
    assert raw.decode() == (
        'data:{"role":"user","delta":"Hi \\"you\\"\\n"}\n\n'
        'data:{"role":"assistant","delta":"[call k3f9]"}\n\n'
        'data:{"role":"assistant","delta":" 안녕하세요"}\n\n'
        'data:{"role":"assistant","delta":" 👋"}\n\n'
        "data:[DONE]\n\n"
    )
    told = await posted(caller, "/messages/", {"chat_id": 7, "content": "Hi", "request_id": "r1"})
    row = (await caller.stored(2, "7"))[1]
    assert told == {
        "id": row["messageId"],
        "chat_id": 7,
        "role": "assistant",
        "content": TEXT,
        "created_at": row["createdAt"],
    }


async def test_role_delta_ends_on_its_error(caller):
    body = {"chat_id": 7, "content": "Hi", "fault": "error;after=1"}
    raw = await post(caller, "/stream/", body)
    assert raw.decode().split("\n\n")[1:] == [
        'data:{"role":"assistant","delta":"[call k3f9]"}',
        'event: error\ndata:{"message":"the model failed in the middle of its answer"}',
        "",
    ]


async def test_role_delta_has_no_word_for_tools(caller):
    raw = await post(caller, "/stream/", {"chat_id": 7, "content": WEATHER})
    assert len(objects(raw)) == 4


# tokens and conversations


def told(text):
    return {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]}


async def test_a_new_conversation_is_named_behind_its_third_token(caller):
    raw = await post(caller, "/api/chat", told("Hi") | {"workspaceId": "w", "budId": "b", "model": "m"})
    conversation_id = objects(raw)[3]["conversationId"]
    assert raw == data(
        *({"type": "token", "content": token} for token in TOKENS),
        {"type": "conversationCreated", "conversationId": conversation_id},
        {"type": "complete"},
    )
    assert (await caller.stored(2, conversation_id))[1]["content"] == TEXT


async def test_a_short_new_conversation_is_named_behind_the_end(caller):
    values = objects(await post(caller, "/api/chat", told("Hi") | {"tokens": 2}))
    assert [value["type"] for value in values] == ["token", "token", "complete", "conversationCreated"]


async def test_a_conversation_goes_on_without_being_named(caller):
    raw = await post(caller, "/api/chat/c%2042", told("Hi"))
    assert raw == data(*({"type": "token", "content": token} for token in TOKENS), {"type": "complete"})
    assert [row["content"] for row in await caller.stored(2, "c 42")] == ["Hi", TEXT]


async def test_a_repeated_request_finds_the_conversation_that_it_began(caller):
    first = await post(caller, "/api/chat", told("Hi"), {"Idempotency-Key": "r1"})
    again = await post(caller, "/api/chat", told("Hi"), {"Idempotency-Key": "r1"})
    other = await post(caller, "/api/chat", told("Hi"), {"Idempotency-Key": "r2"})
    assert first == again
    assert first != other
    assert caller.backend.tally.calls["r1"].answers == 1


async def test_a_conversation_ends_on_its_error(caller):
    raw = await post(caller, "/api/chat", told("Hi") | {"fault": "error;after=0"})
    assert raw == data({"type": "error", "message": "the model failed in the middle of its answer"})


# StreamEvents in tRPC's envelope


async def begun(caller, message="Hi", **more):
    body = {"projectId": "p1", "message": message, **more}
    answer = await posted(caller, "/api/trpc/chat.initiateChat", body)
    assert set(answer) == {"result"}
    assert set(answer["result"]["data"]) == {"assistantMessageId", "userMessageId"}
    return answer["result"]["data"]


async def subscribed(caller, message_id, status=200, **more):
    said = json.dumps({"assistantMessageId": message_id, "projectId": "p1", **more})
    url = f"{caller.backend.base_url}/api/trpc/chat.streamResponse"
    async with caller.session.get(url, params={"input": said}) as response:
        assert response.status == status
        return await response.read()


async def test_a_subscription_speaks_stream_events_in_the_envelope(caller):
    turn = await begun(caller)
    rows = (await caller.room("p1"))["messages"]
    assert [(row["role"], row["status"], row["content"]) for row in rows] == [
        ("user", "success", "Hi"),
        ("assistant", "pending", ""),
    ]
    assert [row["messageId"] for row in rows] == [turn["userMessageId"], turn["assistantMessageId"]]
    raw = await subscribed(caller, turn["assistantMessageId"])
    assert raw.decode() == (
        "event: connected\ndata: {}\n\n\n"
        'data: {"type":"status","status":"thinking"}\n\n\n'
        'data: {"type":"delta","content":"[call k3f9]"}\n\n\n'
        'data: {"type":"delta","content":" 안녕하세요"}\n\n\n'
        'data: {"type":"delta","content":" 👋"}\n\n\n'
        'data: {"type":"complete","finalContent":"[call k3f9] 안녕하세요 👋"}\n\n\n'
        'data: {"type":"finalized","status":"success"}\n\n\n'
        "event: return\ndata: \n\n\n"
    )
    stored = await caller.stored(2, "p1")
    assert [row["messageId"] for row in stored] == [turn["userMessageId"], turn["assistantMessageId"]]
    assert await subscribed(caller, turn["assistantMessageId"]) == raw


async def test_a_tool_is_run_before_the_text_of_a_subscription(caller):
    turn = await begun(caller, WEATHER)
    values = objects(await subscribed(caller, turn["assistantMessageId"]))[1:]
    assert values[:5] == [
        {"type": "status", "status": "thinking"},
        {"type": "tool_start", "name": "get_weather"},
        {"type": "status", "status": "tool_calling"},
        {"type": "tool_result", "name": "get_weather", "success": True, "jobId": None},
        {"type": "delta", "content": "[call k3f9]"},
    ]


async def test_a_subscription_ends_on_its_error_with_the_text_so_far(caller):
    turn = await begun(caller)
    values = objects(await subscribed(caller, turn["assistantMessageId"], fault="error;after=1"))
    why = "the model failed in the middle of its answer"
    assert values[3:] == [
        {"type": "error", "error": why, "finalContent": "[call k3f9]"},
        {"type": "finalized", "status": "error"},
    ]


async def test_a_repeated_begin_keeps_its_names(caller):
    first = await begun(caller, requestId="r1")
    assert await begun(caller, requestId="r1") == first
    assert await begun(caller, requestId="r2") != first
    assert await begun(caller) != await begun(caller)
    assert len((await caller.room("p1"))["messages"]) == 8


async def test_the_header_names_the_request_that_a_mutation_does_not(caller):
    body = {"projectId": "p1", "message": "Hi"}
    for _ in range(2):
        await posted(caller, "/api/trpc/chat.initiateChat", body, {"Idempotency-Key": "r9"})
    assert [row["requestId"] for row in (await caller.room("p1"))["messages"]] == ["r9", "r9"]


async def test_a_mutation_answers_at_once_and_keeps_the_name_that_was_told(caller):
    turn = await begun(caller, requestId="r1")
    body = {"projectId": "p1", "message": "Hi", "requestId": "r1"}
    for _ in range(2):
        answer = await posted(caller, "/api/trpc/chat.sendMessage", body)
        assert answer == {
            "result": {
                "data": {"id": turn["assistantMessageId"], "role": "assistant", "content": TEXT},
            }
        }
    assert caller.backend.tally.calls["r1"].answers == 1


async def test_an_unknown_message_is_no_subscription(caller):
    turn = await begun(caller)
    for message_id in ("nothing", turn["userMessageId"]):
        error = json.loads(await subscribed(caller, message_id, 404))["error"]
        assert error["code"] == -32004
        assert error["message"]
    elsewhere = await subscribed(caller, turn["assistantMessageId"], 404, projectId="p2")
    assert json.loads(elsewhere)["error"]["data"] == {"code": "NOT_FOUND", "httpStatus": 404}


# what a call must hold


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/chat", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/api/v1/chat", {"id": "c", "messages": []}),
        ("/stream/", {"content": "Hi"}),
        ("/stream/", {"chat_id": 1}),
        ("/messages/", {"chat_id": 1, "content": "Hi", "tokens": 0}),
        ("/api/chat", {"messages": "Hi"}),
        ("/api/chat", {"messages": [{"role": "user", "content": "\ud800"}]}),
        ("/api/trpc/chat.initiateChat", {"projectId": "p"}),
        ("/api/trpc/chat.sendMessage", {"message": "Hi"}),
    ],
)
async def test_a_body_that_cannot_be_used_is_refused(caller, path, body):
    error = (await posted(caller, path, body, status=400))["error"]
    assert error["message"].startswith("unable to read the body; ")
    assert error["code"] == (-32600 if "trpc" in path else "bad_request")


async def test_every_stream_says_what_it_is(caller):
    turn = await begun(caller)
    said = json.dumps({"assistantMessageId": turn["assistantMessageId"], "projectId": "p1"})
    url = f"{caller.backend.base_url}/api/trpc/chat.streamResponse"
    async with caller.session.get(url, params={"input": said}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert "x-vercel-ai-ui-message-stream" not in response.headers
    async with caller.session.post(f"{caller.backend.base_url}/api/v1/chat", json=chat("Hi")) as response:
        assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
