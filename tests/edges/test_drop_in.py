"""A chat-server's POST runs a turn and is answered as the backend would; what can be no turn is passed on."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from loopback import Client, running

from bridge.profiles import Answer, Call, Profile

POST = {"roomId": 7, "content": "hi", "requestId": "q"}
OWN = {"Authorization": "Bearer users", "Cookie": "sid=1; b=2", "X-Tenant": "t"}


class Chat:
    """What stands behind the bridge: each call waits for its turn to speak, and is kept with its headers."""

    def __init__(self):
        self.calls = []
        self.steps = asyncio.Queue()
        self.status = 200
        self.streams = True

    def named(self, name):
        return [call for call in self.calls if call[0] == name]

    def say(self, *texts):
        for text in texts:
            self.steps.put_nowait({"type": "text-delta", "id": "t", "delta": text})

    def finish(self, **more):
        self.steps.put_nowait({"type": "finish", **more})

    async def stream(self, request):
        self.calls.append(("stream", await request.json(), request.headers))
        if self.status != 200:
            headers = {"Retry-After": "9", "X-Inner": "1"}
            return web.json_response({"why": "nö"}, status=self.status, headers=headers)
        if not self.streams:
            return web.Response(status=404)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        step = {"type": "start", "messageId": "m-1"}
        while step["type"] != "cut":
            await response.write(b"data: " + json.dumps(step).encode() + b"\n\n")
            if step["type"] == "finish":
                return response
            step = await self.steps.get()
        request.transport.abort()
        return response

    async def complete(self, request):
        body = await request.read()
        self.calls.append(("complete", body, request.headers))
        return web.json_response(
            {"messageId": "w-1", "content": "whole", "mood": "good"}, headers={"X-Own": "1"}
        )

    async def stored(self, request):
        self.calls.append(("stored", request.match_info["name"], request.headers))
        return web.json_response({"message": {"messageId": request.match_info["name"], "kept": True}})

    async def other(self, request):
        self.calls.append(("other", await request.read(), request.headers))
        return web.Response(text="other")


@pytest.fixture
async def chat():
    chat = Chat()
    app = web.Application()
    app.router.add_post("/chat/messages/stream", chat.stream)
    app.router.add_post("/chat/messages", chat.complete)
    app.router.add_get("/kept/{name}", chat.stored)
    app.router.add_route("*", "/{path:.*}", chat.other)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    chat.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield chat
    await runner.cleanup()


@pytest.fixture
async def bridge(chat):
    async with running(chat) as app:
        yield app


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        yield session


async def posted(http, bridge, body=POST, **headers):
    async with http.post(f"{bridge.address}/chat/messages", json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_the_room_hears_the_answer_grow_and_the_post_gets_the_message_of_the_same_name(
    chat, bridge, http
):
    async with Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 7})
        asked = asyncio.create_task(posted(http, bridge))
        chat.say("Hel")
        assert (await client.until("ai_message_chunk"))["delta"] == "Hel"
        assert not asked.done()
        chat.say("lo")
        chat.finish()
        status, message, _ = await asked
        end = await client.until("ai_message_end")
    assert status == 200
    assert message == {
        "messageId": end["messageId"],
        "requestId": "q",
        "roomId": 7,
        "role": "assistant",
        "content": "Hello",
        "createdAt": message["createdAt"],
    }
    assert message["createdAt"].endswith("Z")
    assert "createdAt" not in end
    assert not client.of("new_message")


async def test_a_node_without_devices_does_it_too(chat, bridge, http):
    chat.say("Hello")
    chat.finish()
    assert (await posted(http, bridge))[1]["content"] == "Hello"


async def test_the_chat_servers_own_credentials_come_before_the_profiles(chat, http):
    profile = Profile(headers={"authorization": "Bearer bridge", "X-Key": "k"})
    async with running(chat, profile) as bridge:
        chat.say("x")
        chat.finish()
        await posted(http, bridge, **OWN)
    headers = chat.named("stream")[0][2]
    assert headers.getall("Authorization") == ["Bearer users"]
    assert (headers["Cookie"], headers["X-Tenant"], headers["X-Key"]) == ("sid=1; b=2", "t", "k")
    assert headers["X-Forwarded-For"] == "127.0.0.1"


async def test_the_stream_is_asked_with_all_that_the_chat_server_sent(chat, bridge, http):
    chat.say("x")
    chat.finish()
    await posted(http, bridge, {**POST, "messageId": "wanted", "model": "m", "deep": {"a": [1]}})
    asked = chat.named("stream")[0][1]
    assert asked == {**POST, "messageId": "wanted", "model": "m", "deep": {"a": [1]}}


async def test_a_repeat_attaches_and_gets_the_same_message(chat, bridge, http):
    first, second = (asyncio.create_task(posted(http, bridge)) for _ in range(2))
    chat.say("Hello")
    chat.finish()
    answers = [(await each)[:2] for each in (first, second)]
    answers.append((await posted(http, bridge))[:2])
    assert answers[0] == answers[1] == answers[2]
    assert len(chat.calls) == 1


async def test_a_body_without_a_request_id_gets_one_or_that_of_its_header(chat, bridge, http):
    body = {"roomId": 7, "content": "hi"}
    for key in ({}, {"Idempotency-Key": "k-1"}):
        chat.say("x")
        chat.finish()
        await posted(http, bridge, body, **key)
    first, second = (call[1]["requestId"] for call in chat.named("stream"))
    assert len(first) == 32
    assert second == "k-1"


async def test_a_caller_that_goes_away_ends_no_turn(chat, bridge, http):
    async with Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 7})
        asked = asyncio.create_task(posted(http, bridge))
        await client.until("ai_message_start")
        asked.cancel()
        await asyncio.wait({asked})
        chat.say("Hello")
        chat.finish()
        assert (await client.until("ai_message_end"))["content"] == "Hello"


# -- where the message comes from


async def test_the_complete_call_of_a_backend_that_knows_repeats_answers_itself(chat, http):
    profile = Profile(idempotent=True, answer=Answer("complete"))
    async with running(chat, profile) as bridge:
        chat.say("Hello")
        chat.finish()
        raw = b'{"roomId":7,   "content":"hi","requestId":"q"}'
        async with http.post(f"{bridge.address}/chat/messages", data=raw, headers=OWN) as answer:
            assert (answer.headers["X-Own"], (await answer.json())["mood"]) == ("1", "good")
    ((_, body, headers),) = chat.named("complete")
    assert body == raw
    assert (headers["Idempotency-Key"], headers["Authorization"]) == ("q", "Bearer users")


async def test_the_complete_call_is_told_the_request_id_that_the_chat_server_did_not_name(chat, http):
    profile = Profile(idempotent=True, answer=Answer("complete"))
    async with running(chat, profile) as bridge:
        chat.say("Hello")
        chat.finish()
        await posted(http, bridge, {"roomId": 7, "content": "hi", "model": "m"})
    asked = json.loads(chat.named("complete")[0][1])
    streamed = chat.named("stream")[0][1]
    assert asked == {**streamed, "messageId": "m-1"}


async def test_the_stored_message_is_fetched_with_the_chat_servers_credentials(chat, http):
    answer = Answer("stored", Call("/kept/{messageId}", "GET"), value="/message")
    async with running(chat, Profile(answer=answer)) as bridge:
        chat.say("Hello")
        chat.finish()
        assert (await posted(http, bridge, **OWN))[1] == {"messageId": "m-1", "kept": True}
    assert chat.named("stored")[0][2]["Authorization"] == "Bearer users"


async def test_where_the_stored_message_is_not_to_be_had_the_template_stands_in(chat, http):
    answer = Answer("stored", Call("/nowhere/{messageId}", "GET"), value="/message")
    async with running(chat, Profile(answer=answer)) as bridge:
        chat.say("Hello")
        chat.finish()
        assert (await posted(http, bridge))[1]["content"] == "Hello"


async def test_a_frame_that_carries_the_message_answers_a_repeat_too(chat, http):
    answer = Answer("frame", where={"/type": "data-message"}, value="/data")
    async with running(chat, Profile(answer=answer)) as bridge:
        chat.say("Hello data-message")
        chat.steps.put_nowait({"type": "data-message", "data": {"id": 5, "text": "Héllo"}})
        chat.finish()
        for _ in range(2):
            assert (await posted(http, bridge))[1] == {"id": 5, "text": "Héllo"}
    assert len(chat.calls) == 1


async def test_the_template_is_filled_from_the_stream(chat, http):
    answer = Answer(template={"id": "{messageId}", "to": "{requestId}", "parts": [{"text": "{content}"}]})
    async with running(chat, Profile(answer=answer)) as bridge:
        chat.say("Hello")
        chat.finish()
        assert (await posted(http, bridge))[1] == {"id": "m-1", "to": "q", "parts": [{"text": "Hello"}]}


# -- what goes wrong


async def test_a_backend_that_cannot_stream_is_asked_once_and_its_own_words_answer(chat, bridge, http):
    chat.streams = False
    async with Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 7})
        _, message, _ = await posted(http, bridge)
        end = await client.until("ai_message_end")
    assert message == {"messageId": "w-1", "content": "whole", "mood": "good"}
    assert (end["messageId"], end["content"], client.of("ai_message_chunk")[0]["delta"]) == (
        "w-1",
        "whole",
        "whole",
    )
    assert not client.of("new_message")
    assert len(chat.named("complete")) == 1


async def test_a_refusal_is_given_as_the_backend_gave_it(chat, bridge, http):
    chat.status = 422
    for _ in range(2):  # a repeat hears it from the journal
        status, body, headers = await posted(http, bridge)
        assert (status, body, headers["Retry-After"]) == (422, {"why": "nö"}, "9")
    assert len(chat.calls) == 1


async def test_what_refuses_the_stream_of_a_backend_that_knows_repeats_need_not_refuse_the_call(chat, http):
    chat.status = 422
    async with running(chat, Profile(idempotent=True, answer=Answer("complete"))) as bridge:
        assert (await posted(http, bridge))[:2] == (
            200,
            {"messageId": "w-1", "content": "whole", "mood": "good"},
        )


async def test_an_answer_that_was_cut_is_an_error_and_not_half_a_message(chat, bridge, http):
    chat.say("Hel")
    chat.steps.put_nowait({"type": "cut"})
    status, body, _ = await posted(http, bridge)
    assert (status, body["error"]["code"]) == (502, "backend_cut")


async def test_an_answer_that_was_cut_is_completed_by_a_backend_that_knows_repeats(chat, http):
    profile = Profile(idempotent=True, answer=Answer("complete"))
    async with running(chat, profile) as bridge:
        chat.say("who")
        chat.steps.put_nowait({"type": "cut"})
        assert (await posted(http, bridge))[1] == {"messageId": "w-1", "content": "whole", "mood": "good"}


async def test_a_backend_that_says_nothing_is_a_timeout(chat, http):
    async with running(chat, first_delta_s=0.2) as bridge:
        status, body, _ = await posted(http, bridge)
    assert (status, body["error"]["code"]) == (504, "backend_timeout")


async def test_a_turn_that_was_stopped_is_answered_with_what_the_room_heard(chat, http):
    profile = Profile(idempotent=True, answer=Answer("complete"))
    async with running(chat, profile) as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 7})
        chat.say("Hel")
        asked = asyncio.create_task(posted(http, bridge))
        await client.until("ai_message_chunk")
        await client.call("stop_message", {"roomId": 7, "requestId": "q"})
        status, message, _ = await asked
    assert (status, message["content"]) == (200, "Hel")


# -- what is passed on


async def test_flag_off_passes_every_post_on(chat, http):
    async with running(chat, chat_streaming_enabled=False) as bridge:
        assert (await posted(http, bridge))[1]["mood"] == "good"
    assert [call[0] for call in chat.calls] == ["complete"]


UNREADABLE = {
    "no room": b'{"content": "hi"}',
    "no json": b"roomId=7",
    "no object": b"[7]",
    "no text": b'{"roomId": 7, "content": ["hi"]}',
    "nothing said": b'{"roomId": 7, "content": " "}',
    "no name of a room": b'{"roomId": "a b", "content": "hi"}',
    "too deep": b"[" * 50_000,
    "nothing": b"",
    "too large": b'{"roomId": 7, "content": "hi", "more": "' + b"x" * 1_000_000 + b'"}',
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_cannot_be_read_is_passed_on_untouched_and_counted(chat, bridge, http, name):
    async with http.post(f"{bridge.address}/chat/messages", data=UNREADABLE[name]) as answer:
        assert (await answer.json())["mood"] == "good"
    assert [call[:2] for call in chat.calls] == [("complete", UNREADABLE[name])]
    assert bridge.telemetry.passed.total() == 1


async def test_a_post_with_a_query_is_passed_on(bridge, http):
    async with http.post(f"{bridge.address}/chat/messages?tenant=1", json=POST) as answer:
        assert (await answer.json())["mood"] == "good"


async def test_a_room_that_is_busy_and_a_bridge_that_drains_pass_on(chat, http):
    async with running(chat, turns_per_room=1, drain_s=60) as bridge:
        first = asyncio.create_task(posted(http, bridge))
        async with asyncio.timeout(60):
            while not chat.calls:
                await asyncio.sleep(0.01)
        assert (await posted(http, bridge, {**POST, "requestId": "q-2"}))[1]["mood"] == "good"
        draining = asyncio.create_task(bridge.relay.drain(60))
        await asyncio.sleep(0)
        assert (await posted(http, bridge, {**POST, "roomId": 8}))[1]["mood"] == "good"
        chat.say("x")
        chat.finish()
        assert (await first)[0] == 200
        await draining
    assert bridge.telemetry.passed == {"busy": 1, "draining": 1}


async def test_every_other_path_and_method_is_passed_on(bridge, http):
    for method, path in (("GET", "/chat/messages"), ("POST", "/chat/rooms/7/messages"), ("DELETE", "/x")):
        async with http.request(method, f"{bridge.address}{path}") as answer:
            assert await answer.text() == "other"


# -- what runs in a room now


async def test_what_runs_in_a_room_is_told_as_a_newcomer_would_hear_it(chat, bridge, http):
    async with Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 7})
        asked = asyncio.create_task(posted(http, bridge))
        chat.say("Hel")
        await client.until("ai_message_chunk")
        chat.say("lo")
        await client.until("ai_message_chunk", 2)
        async with http.get(f"{bridge.address}/chat/rooms/7/active") as answer:
            active = await answer.json()
        chat.finish()
        await asked
    told = {each["event"]: each["data"] for each in active}
    assert active[0]["event"] == "ai_message_start"
    assert told["ai_message_chunk"] == {
        "requestId": "q", "roomId": 7, "messageId": "m-1", "seq": 2, "delta": "Hello", "fromSeq": 1
    }  # fmt: skip
    async with http.get(f"{bridge.address}/chat/rooms/7/active") as answer:
        assert await answer.json() == []


# -- where the door is open


async def test_auto_opens_the_door_only_where_this_machine_alone_reaches_it(chat, http):
    async with running(chat, host="0.0.0.0", mode="development") as bridge:  # noqa: S104
        port = bridge.address.rpartition(":")[2]
        async with http.post(f"http://127.0.0.1:{port}/chat/messages", json=POST) as answer:
            assert answer.status == 404
            assert "BRIDGE_DROP_IN=on" in (await answer.json())["error"]["message"]
        async with http.get(f"http://127.0.0.1:{port}/chat/rooms/7/messages") as answer:
            assert answer.status == 404
    assert not chat.calls


async def test_an_address_of_its_own_hides_no_path_and_takes_the_door_from_the_other(
    chat, http, unused_tcp_port
):
    async with running(chat, drop_in_port=unused_tcp_port) as bridge:
        assert bridge.drop_in_address == f"http://127.0.0.1:{unused_tcp_port}"
        async with http.get(f"{bridge.drop_in_address}/healthz") as answer:
            assert await answer.text() == "other"
        async with http.post(f"{bridge.address}/chat/messages", json=POST) as answer:
            assert answer.status == 404
        chat.say("Hello")
        chat.finish()
        async with http.post(f"{bridge.drop_in_address}/chat/messages", json=POST) as answer:
            assert (await answer.json())["content"] == "Hello"


async def test_behind_a_proxy_of_the_same_machine_the_door_is_not_opened_by_itself(chat, http):
    own = {"mode": "production", "auth": "jwt", "jwt_secret": "s" * 32, "origins": ("https://chat.example",)}
    async with running(chat, **own) as bridge:
        assert bridge.drop_in_address is None
        async with http.get(f"{bridge.address}/chat/rooms/7/active") as answer:
            assert answer.status == 404
