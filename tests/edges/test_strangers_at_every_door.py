"""Strangers at every door: who may not, is told why, and reaches neither a room nor the backend."""

import asyncio
import contextlib
import time

import aiohttp
import jwt
import pytest
import socketio
from door_clients import Room, Sse, WebSocketClient
from loopback import Client, running

SECRET = "s" * 32
JWT = {"auth": "jwt", "jwt_secret": SECRET}
SEND = {"roomId": 42, "content": "x", "requestId": "r"}
STREAM, EVENTS = "/chat/rooms/{roomId}/stream", "/chat/events"
ASK = {"chat_id": 42, "content": "x", "request_id": "r"}
CHAT = {"id": 42, "messages": [{"id": "r", "role": "user", "parts": [{"type": "text", "text": "x"}]}]}


def token(*rooms, user="ann", ends_in_s=3600.0):
    return jwt.encode({"sub": user, "exp": time.time() + ends_in_s, "rooms": list(rooms)}, SECRET)


def header(shown):
    return {} if shown is None else {"Authorization": f"Bearer {shown}"}


def query(shown):
    return {} if shown is None else {"access_token": shown}


def over_http(method, path, body=None, *, in_query=False):
    async def knock(address, shown):
        show = {"params": query(shown)} if in_query else {"headers": header(shown)}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, address + path.replace("{roomId}", "42"), json=body, **show) as answer,
        ):
            if answer.status < 400:
                return None
            told = (await answer.json())["error"]["code"]
            if answer.status == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.status == {"not_a_member": 403}.get(told, 401)
            return told

    return knock


async def ask(client):
    """Join and send; return the code of what was refused."""
    said = [await client.call("join_room", {"roomId": 42}), await client.call("send_message", SEND)]
    codes = {ack["error"]["code"] for ack in said if not ack["ok"]}
    return codes.pop() if codes else None


async def socket_io(address, shown):
    told = asyncio.get_running_loop().create_future()
    client = Client(address, {"token": shown})
    client.sio.on("connect_error", told.set_result)
    try:
        async with client:
            return await ask(client)
    except socketio.exceptions.ConnectionError:
        return (await asyncio.wait_for(told, 60))["data"]["code"]


async def websocket_by_frame(address, shown):
    async with WebSocketClient(address) as client:
        ack = await client.call("auth", {"token": shown})
        if ack["ok"]:
            return await ask(client)
        await asyncio.wait_for(client.reader, 60)
        assert client.ws.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION
        return ack["error"]["code"]


async def websocket_by_header(address, shown):
    if shown is None:  # the connection stands, and its first frame has to show a token
        async with WebSocketClient(address) as client:
            return (await client.call("join_room", {"roomId": 42}))["error"]["code"]
    try:
        async with WebSocketClient(address, headers=header(shown)) as client:
            return await ask(client)
    except aiohttp.WSServerHandshakeError:
        return await over_http("GET", "/api/v1/chat/ws")(address, shown)


STOP = {"event": "stop_message", "data": {"roomId": 42, "requestId": "r"}}
ASKS = {
    "Socket.IO": socket_io,
    "GET /api/v1/chat/ws": websocket_by_frame,
    "GET /api/v1/chat/ws, header": websocket_by_header,
    "POST /chat/events": over_http("POST", EVENTS, {"event": "send_message", "data": SEND}),
    "POST /stream/": over_http("POST", "/stream/", ASK),
    "POST /messages/": over_http("POST", "/messages/", ASK),
    "POST /api/chat": over_http("POST", "/api/chat", CHAT),
    "POST /api/chat/{roomId}": over_http("POST", "/api/chat/{roomId}", CHAT),
}
HEARS = {
    f"GET {STREAM}": over_http("GET", STREAM),
    f"GET {STREAM}, query": over_http("GET", STREAM, in_query=True),
    "GET /api/chat/{roomId}/stream": over_http("GET", "/api/chat/{roomId}/stream"),
    "POST /api/chat/{roomId}/stop": over_http("POST", "/api/chat/{roomId}/stop"),
}
DOORS = {**ASKS, **HEARS, "POST /chat/events, stop": over_http("POST", EVENTS, STOP)}
STRANGERS = {
    "no token": (lambda: None, "unauthorized"),
    "no token at all": (lambda: "x.y.z", "unauthorized"),
    "another's key": (
        lambda: jwt.encode({"sub": "a", "exp": 9e9, "rooms": [42]}, "z" * 32),
        "unauthorized",
    ),
    "expired": (lambda: token(42, ends_in_s=-1), "token_expired"),
    "of another room": (lambda: token(7, "42x"), "not_a_member"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_stranger_is_refused_and_nothing_is_done(script, door, stranger):
    shown, code = STRANGERS[stranger]
    async with running(script, **JWT) as bridge:
        assert await DOORS[door](bridge.address, shown()) == code
        assert (script.requests, bridge.shared.journal._turns) == ([], {})
        await nobody_is_in(bridge)


async def nobody_is_in(bridge):
    async with asyncio.timeout(60):
        while bridge.rooms.devices or bridge._border.admission._passes or bridge._border.admission._addresses:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("door", ASKS)
async def test_who_may_is_answered_and_known_by_name(script, door):
    async with running(script, **JWT) as bridge:
        script.say("a")
        script.finish()
        assert await DOORS[door](bridge.address, token(42)) is None
        assert [turn.claim.prompt.user for turn in bridge.shared.journal._turns.values()] == ["ann"]
        await nobody_is_in(bridge)


@pytest.mark.parametrize("door", HEARS)
async def test_who_may_hears(script, door):
    async with running(script, **JWT) as bridge:
        assert await DOORS[door](bridge.address, token(42)) is None


async def test_a_token_in_a_query_opens_no_other_door(script):
    async with running(script, **JWT) as bridge, aiohttp.ClientSession() as session:
        for route in bridge._doors.routes():
            if route.method == "OPTIONS" or route.path in (STREAM, "/api/v1/chat/ws"):
                continue
            url = bridge.address + route.path.replace("{roomId}", "42")
            async with session.request(route.method, url, json=CHAT, params=query(token(42))) as answer:
                assert answer.status == 401


async def test_no_door_is_forgotten_here(bridge):
    there = {f"{route.method} {route.path}" for route in bridge._doors.routes() if route.method != "OPTIONS"}
    assert there == {door.partition(",")[0] for door in DOORS} - {"Socket.IO"}


@pytest.mark.parametrize("door", ["GET /api/v1/chat/ws", "POST /stream/", f"GET {STREAM}"])
async def test_a_bridge_that_takes_no_devices_takes_none_at_any_door(script, door):
    async with running(script, auth="closed") as bridge:
        assert await DOORS[door](bridge.address, token(42)) == "unauthorized"


async def test_a_websocket_that_shows_no_token_in_time_is_closed(script):
    async with running(script, **JWT, handshake_s=0.1) as bridge, WebSocketClient(bridge.address) as client:
        assert (await client.until("error"))["code"] == "unauthorized"
        await asyncio.wait_for(client.reader, 60)


async def test_the_flag_is_asked_for_the_user_of_the_token(script, monkeypatch):
    async with running(script, **JWT) as bridge:
        asked = []

        async def streaming(room_id, user):
            asked.append((room_id, user))
            return False

        monkeypatch.setattr(bridge.flag, "streaming", streaming)
        async with aiohttp.ClientSession() as session:
            for path in ("/stream/", "/messages/"):
                async with session.post(bridge.address + path, json=ASK, headers=header(token(42))) as answer:
                    assert answer.status == {"/stream/": 404, "/messages/": 200}[path]
        assert set(asked) == {(42, "ann")}


async def test_a_stranger_is_not_told_whether_a_room_streams(script):
    async with running(script, **JWT, chat_streaming_enabled=False) as bridge:
        assert await DOORS["POST /stream/"](bridge.address, token(7)) == "not_a_member"


@pytest.mark.parametrize("limit", ["connections_per_user", "connections_per_address"])
async def test_connections_are_counted_over_all_doors(script, limit):
    async with (
        running(script, **JWT, **{limit: 2}) as bridge,
        Client(bridge.address, {"token": token(42)}),
        aiohttp.ClientSession(headers=header(token(42))) as session,
    ):
        async with WebSocketClient(bridge.address, headers=header(token(42))):
            for path in ("/chat/rooms/42/stream", "/api/v1/chat/ws", "/api/chat/42/stream"):
                async with session.get(bridge.address + path) as answer:
                    assert answer.status == 429
                    assert (await answer.json())["error"]["code"] == "too_many_connections"
        async with asyncio.timeout(60):
            while True:
                async with session.get(bridge.address + "/api/chat/42/stream") as answer:
                    if answer.status == 204:
                        break


async def test_events_are_counted_over_all_doors_of_a_user(script):
    limits = {"events_per_second": 0.001, "events_burst": 3}
    async with (
        running(script, **JWT, **limits) as bridge,
        aiohttp.ClientSession(headers=header(token(42))) as session,
        WebSocketClient(bridge.address, {"token": token(42)}) as client,
    ):
        assert (await client.call("join_room", {"roomId": 42}))["ok"]
        async with session.post(f"{bridge.address}/api/chat/42/stop") as answer:
            assert answer.status == 200
        for _ in range(2):
            last = await client.call("ping")
        assert last["error"]["code"] == "rate_limited"
        async with session.post(bridge.address + "/api/chat", json=CHAT) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert not script.requests


async def test_who_floods_a_websocket_is_sent_away(script):
    limits = {"events_per_second": 0.001, "events_burst": 1}
    async with running(script, **JWT, **limits) as bridge:
        async with WebSocketClient(bridge.address, {"token": token(42)}) as client:
            with contextlib.suppress(ConnectionError):
                for _ in range(80):
                    await client.say("{")
            assert (await client.until("access_ended")) == {"code": "rate_limited"}
            await asyncio.wait_for(client.reader, 60)
        await nobody_is_in(bridge)


async def test_a_token_that_runs_out_ends_what_it_opened(script, wall):
    async with running(script, **JWT) as bridge, contextlib.AsyncExitStack() as stack:
        shown = token(42)
        here, address = stack.enter_async_context, bridge.address
        plain = await here(WebSocketClient(address, {"token": shown}))
        source = await here(Room(address, 42, headers=header(shown)))
        asker = await here(Sse(f"{address}/api/chat", json=CHAT, headers=header(shown)))
        wall.ahead_s = 3601
        for each in (plain, source):
            assert await each.until("access_ended") == {"code": "token_expired"}
        await asyncio.wait_for(plain.reader, 60)
        assert await source.over()
        assert "[DONE]" not in asker.of("message")
        assert not await asker.over()
        script.finish()


async def test_who_waits_for_the_complete_message_while_its_token_runs_out_is_told_so(script, wall):
    async with running(script, **JWT) as bridge, aiohttp.ClientSession() as session:
        shown = header(token(42))
        asked = asyncio.create_task(session.post(f"{bridge.address}/messages/", json=ASK, headers=shown))
        async with asyncio.timeout(60):
            while not script.requests:
                await asyncio.sleep(0.01)
        wall.ahead_s = 3601
        async with await asked as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert (await answer.json())["error"]["code"] == "token_expired"
        script.say("a")
        script.finish()
        fresh = header(token(42, ends_in_s=9000))
        async with session.post(f"{bridge.address}/messages/", json=ASK, headers=fresh) as answer:
            assert (await answer.json())["content"] == "a"
    assert len(script.requests) == 1


async def test_a_websocket_renews_its_token_and_loses_the_rooms_it_no_longer_names(script):
    async with (
        running(script, **JWT) as bridge,
        WebSocketClient(bridge.address, {"token": token(42, 43)}) as client,
    ):
        for room in (42, 43):
            assert (await client.call("join_room", {"roomId": room}))["ok"]
        assert (await client.call("renew", {"token": token(43, user="bob")}))["error"][
            "code"
        ] == "unauthorized"
        assert (await client.call("renew", {"token": token(43)}))["ok"]
        assert await client.until("access_ended") == {"code": "not_a_member", "roomId": 42}
        assert (await client.call("send_message", SEND))["error"]["code"] == "not_a_member"
        assert (await client.call("join_room", {"roomId": 43}))["ok"]
