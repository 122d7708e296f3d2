import asyncio
import io
import re

import pytest
from stub_caller import Caller, hear

from backend_stub.model import Pace

UTC_Z = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_stream_speaks_the_ui_message_protocol(caller):
    async with caller.post(messageId="m1") as response:
        heard = hear(await response.read())
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert response.headers["x-accel-buffering"] == "no"
    assert heard.kinds[:3] == ["start", "start-step", "text-start"]
    assert heard.kinds[3:15] == ["text-delta"] * 12
    assert heard.kinds[15:] == ["text-end", "finish-step", "finish"]
    assert heard.frames[0]["messageId"] == "m1"
    assert heard.frames[-1]["finishReason"] == "stop"
    assert heard.done
    assert heard.raw.endswith(b"data: [DONE]\n\n")


async def test_frames_are_numbered_from_one_and_keep_their_letters(caller):
    heard = await caller.stream(content="Grüße 👋")
    assert heard.ids == [str(number) for number in range(1, 19)]
    assert "Grüße 👋" in heard.text
    assert "👋".encode() in heard.raw


async def test_without_a_message_id_the_backend_makes_one(caller):
    heard = await caller.stream()
    assert heard.frames[0]["messageId"]


async def test_the_complete_call_gives_the_whole_message(caller):
    status, message = await caller.complete(messageId="m1")
    assert status == 200
    assert UTC_Z.fullmatch(message.pop("createdAt"))
    assert message.pop("content").startswith("[call ")
    assert message == {
        "messageId": "m1",
        "requestId": "r1",
        "roomId": 42,
        "role": "assistant",
        "finishReason": "stop",
    }


async def test_a_body_may_choose_length_and_pace(caller):
    heard = await caller.stream(tokens=3, tokensPerSecond=1000, firstTokenSeconds=0.01)
    assert heard.kinds.count("text-delta") == 3


async def test_tokens_come_at_the_pace_that_was_set(start, session):
    caller = Caller(session, await start(pace=Pace(5, 50, 0.1)))
    began_s = asyncio.get_running_loop().time()
    await caller.stream()
    took_s = asyncio.get_running_loop().time() - began_s
    assert took_s > 0.17


async def test_ids_keep_their_json_type(caller):
    _, message = await caller.complete(roomId=42, requestId=7, messageId=8)
    assert (message["roomId"], message["requestId"], message["messageId"]) == (42, 7, 8)
    _, message = await caller.complete(roomId="42", requestId="7")
    assert (message["roomId"], message["requestId"]) == ("42", "7")


async def test_the_request_id_of_the_body_goes_before_the_header(caller):
    _, message = await caller.complete({"Idempotency-Key": "header"}, requestId="body")
    assert message["requestId"] == "body"
    _, message = await caller.complete({"Idempotency-Key": "header"}, requestId=None)
    assert message["requestId"] == "header"


async def test_a_request_without_id_gets_one(caller):
    _, one = await caller.complete(requestId=None)
    _, other = await caller.complete(requestId=None)
    assert one["requestId"] != other["requestId"]
    assert one["content"] != other["content"]


BAD_BODIES = (
    b"",
    b"{",
    b"[]",
    b"[" * 100_000,
    b'{"content": "Hi"}',
    b'{"roomId": 1}',
    b'{"roomId": true, "content": "Hi"}',
    b'{"roomId": 1.5, "content": "Hi"}',
    b'{"roomId": 1, "content": 5}',
    b'{"roomId": 1, "content": "\\ud800"}',
    b'{"roomId": 1, "content": "Hi", "tokens": 0}',
    b'{"roomId": 1, "content": "Hi", "tokens": 1.5}',
    b'{"roomId": 1, "content": "Hi", "tokens": 1000000}',
    b'{"roomId": 1, "content": "Hi", "tokensPerSecond": NaN}',
    b'{"roomId": 1, "content": "Hi", "firstTokenSeconds": "soon"}',
    b'{"roomId": 1, "content": "Hi", "fault": "nonsense"}',
    b'{"roomId": 1, "content": "Hi", "requestId": "' + b"x" * 201 + b'"}',
)


@pytest.mark.parametrize("path", ["/chat/messages", "/chat/messages/stream"])
async def test_a_bad_body_is_refused_as_json(caller, session, path):
    for body in BAD_BODIES:
        async with session.post(caller.backend.base_url + path, data=body) as response:
            assert response.status == 400, body
            error = (await response.json())["error"]
        assert error["code"]
        assert error["message"].startswith("unable to ")


async def test_unknown_paths_methods_and_sizes_are_refused_as_json(caller, session):
    assert (await caller.get("/nothing"))[0] == 404
    status, body = await caller.get("/chat/messages")
    assert status == 405
    assert body["error"]["code"] == "method_not_allowed"
    async with session.post(
        f"{caller.backend.base_url}/chat/messages", data=io.BytesIO(b"x" * 1_100_000)
    ) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "too_large"


async def test_health_and_figures_can_be_asked_for(caller):
    assert await caller.get("/healthz") == (200, {"ok": True})
    await caller.stream()
    _, stats = await caller.get("/stats")
    assert stats == {
        "calls": {"r1": {"posts": 1, "answers": 1}},
        "openStreams": 0,
        "droppedByCaller": 0,
        "storeFailures": 0,
    }
