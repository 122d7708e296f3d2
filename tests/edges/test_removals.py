"""Who is removed from a room hears it no more, on whatever node and behind whatever door."""

import asyncio
import time

import aiohttp
import jwt
import pytest
from door_clients import Room, WebSocketClient
from loopback import Client, running
from redis_server import redis_server

SECRET = "s" * 32
JWT = {"auth": "jwt", "jwt_secret": SECRET}
BEARER = {"Authorization": "Bearer secret"}
ENDED = {"code": "not_a_member", "roomId": 42}


def token(user, **claims):
    known = {"sub": user, "exp": time.time() + 60, "iat": time.time() - 30, "rooms": [42, 43]}
    return jwt.encode({**known, **claims}, SECRET)


async def remove(bridge, said, headers=BEARER, **how):
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{bridge.address}/admin/removals", **(how or {"json": said})) as answer,
    ):
        return answer.status, await answer.json()


async def until_alone(bridge):
    async with asyncio.timeout(20):
        while bridge.rooms.devices != 1:
            await asyncio.sleep(0.01)


@pytest.mark.needs("redis-server")
async def test_a_removed_user_hears_no_more_at_any_door_of_any_node(script, tmp_path):
    with redis_server(tmp_path) as redis:
        near = {**JWT, "redis_url": redis.url}
        async with running(script, **near) as one, running(script, **near) as two:
            said = {"Authorization": f"Bearer {token('ann')}"}
            async with (
                Client(one.address, {"token": token("ann")}) as here,
                Client(two.address, {"token": token("ann")}) as there,
                WebSocketClient(two.address, {"token": token("ann")}) as plain,
                Room(two.address, 42, headers=said) as source,
                Client(two.address, {"token": token("bob")}) as bob,
            ):
                for each in (here, there, plain, bob):
                    assert (await each.call("join_room", {"roomId": 42}))["ok"]
                assert (await there.call("join_room", {"roomId": 43}))["ok"]
                await bob.call("send_message", {"roomId": 42, "content": "x", "requestId": "r"})
                script.say("before ")
                for each in (here, there, plain, source, bob):
                    await each.until("ai_message_chunk")
                assert await remove(one, {"roomId": 42, "user": "ann"}) == (200, {"ok": True})
                for each in (here, there, plain, source):
                    assert await each.until("access_ended") == ENDED
                script.say("after")
                script.finish()
                assert (await bob.until("ai_message_end"))["content"] == "before after"
                for each in (here, there, plain):
                    assert "after" not in repr(each.heard)
                    assert (await each.call("join_room", {"roomId": 42}))["error"]["code"] == "not_a_member"
                    assert (await each.call("join_room", {"roomId": 43}))["ok"]
                assert "after" not in repr(source.heard)
                assert await source.over()
            fresh = {"token": token("ann", iat=time.time() + 10)}
            async with Client(two.address, fresh) as invited:
                assert (await invited.call("join_room", {"roomId": 42}))["ok"]


async def test_a_room_of_another_json_type_is_another_room(script):
    async with (
        running(script, **JWT) as bridge,
        Client(bridge.address, {"token": token("ann")}) as ann,
        Client(bridge.address, {"token": token("bob")}) as bob,
    ):
        for each in (ann, bob):
            await each.call("join_room", {"roomId": 42})
        for said in ({"roomId": "42", "user": "ann"}, {"roomId": 42, "user": "annette"}):
            assert await remove(bridge, said) == (200, {"ok": True})
        assert bridge.rooms.devices == 2
        await remove(bridge, {"roomId": 42, "user": "ann"})
        await until_alone(bridge)


@pytest.mark.parametrize(
    "said",
    [
        [],
        {},
        {"roomId": 42},
        {"user": "ann"},
        {"roomId": 4.2, "user": "ann"},
        {"roomId": True, "user": "ann"},
    ]
    + [{"roomId": 42, "user": user} for user in ("", None, 7, "x" * 257)],
    ids=str,
)
async def test_a_removal_that_is_none_is_refused(bridge, said):
    status, answer = await remove(bridge, said)
    assert (status, answer["error"]["code"]) == (400, "bad_removal")


async def test_only_an_operator_removes(script, bridge):
    said = {"roomId": 42, "user": "ann"}
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert (await remove(bridge, said, headers))[0] == 401
    assert (await remove(bridge, said, data="roomId=42&user=ann"))[0] == 415
    async with running(script, admin_token="") as closed:
        assert (await remove(closed, said))[0] == 403
