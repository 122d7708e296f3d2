"""Strangers at the Socket.IO door: through real sockets, with real tokens, against our own bridge."""

import asyncio
import contextlib
import itertools
import json
import time

import aiohttp
import jwt
import pytest
import socketio
from aiohttp import web
from loopback import Client, running

from bridge.profiles import Call, MembershipCall, Profile

SECRET = "s" * 32
JWT = {"auth": "jwt", "jwt_secret": SECRET}
FAST = {"events_per_second": 1e6, "events_burst": 10**6, "connections_per_user": 10**6}


def token(user="ann", *rooms, ends_in_s=3600.0):
    return jwt.encode({"sub": user, "exp": time.time() + ends_in_s, "rooms": list(rooms)}, SECRET)


def device(bridge, *said, **more):
    return Client(bridge.address, {"token": token(*said, **more)})


async def refusal(address, auth=None, headers=None):
    """Connect as socket.io clients do; return the data of the connect_error."""
    told = asyncio.get_running_loop().create_future()
    sio = socketio.AsyncClient(reconnection=False)
    sio.on("connect_error", told.set_result)
    with contextlib.suppress(socketio.exceptions.ConnectionError):
        await sio.connect(
            address, auth=auth, headers=headers or {}, transports=["websocket"], wait_timeout=60
        )
    try:
        return (await asyncio.wait_for(told, 60))["data"]
    finally:
        await sio.disconnect()


async def until_gone(client):
    async with asyncio.timeout(60):
        while client.sio.connected:
            await asyncio.sleep(0.01)


async def test_a_token_lets_in_and_the_backend_is_told_who_asks(script):
    async with running(script, **JWT) as bridge, device(bridge, "ann", 42) as client:
        assert (await client.call("join_room", {"roomId": 42}))["ok"]
        assert (await client.call("send_message", {"roomId": 42, "content": "x", "requestId": "r"}))["ok"]
        script.finish()
        await client.until("ai_message_end")
        assert [turn.claim.prompt.user for turn in bridge.shared.journal._turns.values()] == ["ann"]


async def test_an_authorization_header_lets_in_too(script):
    async with running(script, **JWT) as bridge:
        sio = socketio.AsyncClient(reconnection=False)
        header = {"Authorization": f"Bearer {token('ann', 1)}"}
        for transport in ("websocket", "polling"):
            await sio.connect(bridge.address, headers=header, transports=[transport], wait_timeout=60)
            assert (await sio.call("join_room", {"roomId": 1}))["ok"]
            await sio.disconnect()


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        (None, {"code": "unauthorized", "retryable": False}),
        ({"token": "x.y.z"}, {"code": "unauthorized", "retryable": False}),
        ({"token": 7}, {"code": "bad_auth", "retryable": False}),
        ({"token": token(ends_in_s=-1)}, {"code": "token_expired", "retryable": False}),
    ],
    ids=["none", "junk", "no text", "expired"],
)
async def test_a_stranger_is_refused_with_a_code(script, auth, told):
    async with running(script, **JWT) as bridge:
        assert await refusal(bridge.address, auth) == told
        assert not bridge.rooms.devices


async def test_a_bridge_that_takes_no_devices_takes_none(script):
    async with running(script, auth="closed") as bridge:
        assert (await refusal(bridge.address, {"token": token()}))["code"] == "unauthorized"


async def test_connections_of_a_user_are_limited(script):
    async with running(script, **JWT, connections_per_user=2) as bridge, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(device(bridge, "ann"))
        told = await refusal(bridge.address, {"token": token("ann")})
        assert told == {"code": "too_many_connections", "retryable": True}
        await stack.enter_async_context(device(bridge, "bob"))
        await stack.aclose()
        async with device(bridge, "ann"):
            pass


async def test_connections_of_an_address_are_limited_by_who_a_trusted_proxy_names(script):
    url = "/socket.io/?EIO=4&transport=polling"
    limits = {"trusted_proxies": ("127.0.0.1",), "connections_per_address": 2}
    async with running(script, **limits) as bridge, aiohttp.ClientSession() as session:
        seen = []
        for address in ("6.6.6.6", "6.6.6.6", "6.6.6.6", "9.9.9.9, 6.6.6.6", "7.7.7.7"):
            async with session.get(bridge.address + url, headers={"X-Forwarded-For": address}) as answer:
                seen.append(answer.status)
                if answer.status == 429:
                    assert (await answer.json())["error"]["code"] == "too_many_connections"
        assert seen == [200, 200, 429, 429, 200]
    async with running(script, connections_per_address=2) as bridge, aiohttp.ClientSession() as session:
        seen = []
        for address in ("6.6.6.6", "7.7.7.7", "8.8.8.8"):  # nobody vouches for it
            async with session.get(bridge.address + url, headers={"X-Forwarded-For": address}) as answer:
                seen.append(answer.status)
        assert seen == [200, 200, 429]


async def test_a_token_ends_and_the_socket_with_it_unless_it_is_renewed(script, wall):
    async with (
        running(script, **JWT) as bridge,
        device(bridge, "ann", 1) as ending,
        device(bridge, "bob", 1) as renewing,
    ):
        assert await renewing.call("renew", {"token": token("bob", 1, ends_in_s=9000)}) == {"ok": True}
        assert (await renewing.call("renew", {"token": token("ann", 1)}))["error"]["code"] == "unauthorized"
        assert (await renewing.call("renew", {"token": "junk"}))["error"]["code"] == "unauthorized"
        wall.ahead_s = 3601
        assert (await ending.until("access_ended")) == {"code": "token_expired"}
        await until_gone(ending)
        assert (await renewing.call("join_room", {"roomId": 1}))["ok"]


async def test_no_send_behind_the_end_of_a_token(script, wall):
    async with running(script, **JWT) as bridge, device(bridge, "ann", 1) as client:
        bridge._sweeper.cancel()
        await client.call("join_room", {"roomId": 1})
        wall.ahead_s = 3601
        sent = await client.call("send_message", {"roomId": 1, "content": "x"})
        assert sent["error"]["code"] == "token_expired"
        assert not script.requests


async def test_a_renewed_token_takes_rooms_away(script):
    async with running(script, **JWT) as bridge, device(bridge, "ann", 1, 2) as client:
        for room_id in (1, 2):
            assert (await client.call("join_room", {"roomId": room_id}))["ok"]
        await client.call("renew", {"token": token("ann", 2)})
        assert await client.until("access_ended") == {"code": "not_a_member", "roomId": 1}
        sent = await client.call("send_message", {"roomId": 1, "content": "x"})
        assert sent["error"]["code"] == "not_a_member"
        assert (await client.call("send_message", {"roomId": 2, "content": "x"}))["ok"]
        script.finish()
        await client.until("ai_message_end")


async def test_a_room_id_of_another_json_type_is_another_room(script):
    async with running(script, **JWT) as bridge, device(bridge, "ann", 42) as client:
        assert (await client.call("join_room", {"roomId": "42"}))["error"]["code"] == "not_a_member"


async def test_who_asks_too_often_is_refused_then_sent_away_and_the_others_hear_on(script):
    async with (
        running(script, events_per_second=0.001) as bridge,
        Client(bridge.address) as calm,
        Client(bridge.address) as wild,
    ):
        await calm.call("join_room", {"roomId": 1})
        await calm.call("send_message", {"roomId": 1, "content": "x"})
        codes = [
            (await wild.call("join_room", {"roomId": 2})).get("error", {}).get("code") for _ in range(40)
        ]
        assert codes.count("rate_limited") > 10
        with contextlib.suppress(Exception):
            for _ in range(200):
                await wild.sio.emit("join_room", {"roomId": 2})
        await until_gone(wild)
        assert {"code": "rate_limited"} in wild.of("access_ended")
        script.say("still here")
        script.finish()
        assert (await calm.until("ai_message_end"))["content"] == "still here"
        assert bridge.rooms.devices == 1


# -- rooms are private


class Talk:
    """A backend that answers each message with its own canary."""

    def __init__(self):
        self.asked = []

    async def stream(self, request):
        body = await request.json()
        self.asked.append(body)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        text = f"answer-{body['content']}"
        for piece in (text[:9], text[9:]):
            frame = f'data: {{"type":"text-delta","id":"t","delta":"{piece}"}}\n\n'
            await response.write(frame.encode())
            await asyncio.sleep(0)
        await response.write(b'data: {"type":"finish","finishReason":"stop"}\n\n')
        return response


@pytest.fixture
async def talk():
    talk = Talk()
    app = web.Application()
    app.router.add_post("/chat/messages/stream", talk.stream)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    talk.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield talk
    await runner.cleanup()


class Hearing(Client):
    """A client that keeps everything it hears as text."""

    def everything(self):
        return repr(self.heard)


async def test_a_canary_in_each_of_100_rooms_is_heard_in_its_room_only(talk):
    async with running(talk, **JWT, **FAST) as bridge, contextlib.AsyncExitStack() as stack:
        clients = {}
        for room, user in itertools.product(range(100), ("ann", "bob")):
            auth = {"token": token(f"{user}-{room}", f"room-{room}")}
            client = await stack.enter_async_context(Hearing(bridge.address, auth))
            assert (await client.call("join_room", {"roomId": f"room-{room}"}))["ok"]
            clients[room, user] = client
        for room in range(100):
            sent = {"roomId": f"room-{room}", "content": f"canary{room}x", "requestId": "same"}
            assert (await clients[room, "ann"].call("send_message", sent))["ok"]
        for client in clients.values():
            await client.until("ai_message_end")
        for (room, _), client in clients.items():
            others = [n for n in range(100) if n != room and f"canary{n}x" in client.everything()]
            assert not others
            assert f"answer-canary{room}x" in client.everything()
        assert len(talk.asked) == 100


async def test_forged_joins_sends_stops_and_resumes_are_refused_and_reach_no_backend(talk):
    async with (
        running(talk, **JWT, **FAST) as bridge,
        device(bridge, "ann", "hers") as ann,
        device(bridge, "eve", "own") as eve,
    ):
        await ann.call("join_room", {"roomId": "hers"})
        await eve.call("join_room", {"roomId": "own"})
        await ann.call("send_message", {"roomId": "hers", "content": "secret", "requestId": "r"})
        message_id = (await ann.until("ai_message_end"))["messageId"]
        before = len(talk.asked)
        for _ in range(25):
            for event, data, code in (
                ("join_room", {"roomId": "hers", "resume": {message_id: 0}}, "not_a_member"),
                ("send_message", {"roomId": "hers", "content": "x"}, "not_a_member"),
                ("stop_message", {"roomId": "hers", "requestId": "r"}, "not_a_member"),
                ("stop_message", {"roomId": "own", "requestId": "r"}, "unknown_message"),
                ("resume", {"roomId": "hers", "messageId": message_id, "seq": 0}, "not_a_member"),
            ):
                assert (await eve.call(event, data))["error"]["code"] == code
            for named in (message_id, "no-such-message"):  # one of another room is as unknown as none
                asked = await eve.call("resume", {"roomId": "own", "messageId": named, "seq": 0})
                assert asked == {"ok": True, "recovered": False, "seq": 0}
                asked = await eve.call("join_room", {"roomId": "own", "resume": {named: 0}})
                assert asked["lost"] == [named]
        assert len(talk.asked) == before
        assert "secret" not in repr(eve.heard)


# -- the backend says who may be where


class Roster:
    def __init__(self):
        self.members = {("ann", "1"), ("bob", "1")}
        self.asked = []
        self.status = None
        self.says = "true"

    async def serve(self, request):
        asked = (request.query["user"], request.match_info["room"])
        self.asked.append(asked)
        status = self.status or (200 if asked in self.members else 403)
        return web.Response(status=status, text=f'{{"member": {self.says}}}')


@pytest.fixture
async def roster():
    roster = Roster()
    app = web.Application()
    app.router.add_get("/rooms/{room}/member", roster.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    roster.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield roster
    await runner.cleanup()


ASKED = Profile(membership=MembershipCall(Call("/rooms/{roomId}/member", "GET", {"user": "{user}"})))


async def test_the_backend_says_who_may_be_in_a_room_and_who_no_longer(roster):
    async with (
        running(roster, ASKED, membership_ttl_s=1.0, **JWT) as bridge,
        device(bridge, "ann") as ann,
        device(bridge, "bob") as bob,
        device(bridge, "eve") as eve,
    ):
        for each in (ann, bob):
            assert (await each.call("join_room", {"roomId": 1}))["ok"]
        assert (await eve.call("join_room", {"roomId": 1}))["error"]["code"] == "not_a_member"
        roster.members.remove(("ann", "1"))
        assert await ann.until("access_ended") == {"code": "not_a_member", "roomId": 1}
        assert len(bridge.rooms._rooms[1].seats) == 1
        roster.status = 500
        await asyncio.sleep(1.2)
        sent = await bob.call("send_message", {"roomId": 1, "content": "x"})
        assert sent["error"]["code"] == "membership_unknown"
        assert len(bridge.rooms._rooms[1].seats) == 1


@pytest.mark.parametrize(("body", "code"), [("true", None), ("false", "not_a_member"), ("1", "not_a_member")])
async def test_a_backend_that_always_says_200_says_it_in_its_answer(roster, body, code):
    profile = Profile(membership=MembershipCall(ASKED.membership.call, "/member"))
    async with running(roster, profile, **JWT) as bridge, device(bridge, "ann") as client:
        roster.says = body
        joined = await client.call("join_room", {"roomId": 1})
        assert joined.get("error", {}).get("code") == code


async def test_a_polling_session_is_its_users(script):
    mine, renewed, others = token("ann", 1), token("ann", 1, ends_in_s=99), token("eve", 1)
    proxied = {"trusted_proxies": ("127.0.0.1",)}
    async with running(script, **JWT, **proxied) as bridge, aiohttp.ClientSession() as session:
        url = f"{bridge.address}/socket.io/?EIO=4&transport=polling"

        def bearer(said, address="6.6.6.6"):
            header = {"Authorization": f"Bearer {said}"} if said else {}
            return {**header, "X-Forwarded-For": address}

        async with session.get(url, headers=bearer(mine)) as answer:
            url += "&sid=" + json.loads((await answer.text())[1:])["sid"]
        async with session.post(url, data=b"40", headers=bearer(mine)) as answer:
            assert answer.status == 200
        for said, status in ((mine, 200), (renewed, 200), (others, 403), (None, 200), ("junk", 403)):
            async with session.post(url, data=b"3", headers=bearer(said)) as answer:
                assert answer.status == status
        async with session.post(url, data=b"3", headers=bearer(None, "7.7.7.7")) as answer:
            assert answer.status == 403
        async with session.get(url, headers=bearer(others)) as answer:
            assert answer.status == 403
