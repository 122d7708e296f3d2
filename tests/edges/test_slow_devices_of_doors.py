"""Devices behind the doors that write by themselves, and do not read: told later as one chunk, or cut off."""

import asyncio
import socket

import pytest
from door_clients import Room, WebSocketClient, narrow_connector
from door_laws import text_of
from loopback import running

DELTA = "x" * 64_000
SAY = {"requestId": "r-1", "roomId": "room", "content": "hi"}


def websocket(address):
    return WebSocketClient(address, {"streaming": True}, connector=narrow_connector())


def event_source(address):
    return Room(address, "room", query="?streaming=true", connector=narrow_connector())


def reader(address):
    return WebSocketClient(address, {"streaming": True})


def read_on(client):
    """Read again, and as fast as others: what waits is large."""
    reading = reading_of(client)
    reading.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    reading.resume_reading()


def reading_of(client):
    response = client.ws._response if isinstance(client, WebSocketClient) else client.response
    return response.connection.transport


@pytest.fixture(params=[websocket, event_source])
def door(request):
    return request.param


async def ask(good, slow):
    for client in (good, slow):
        if isinstance(client, WebSocketClient):
            await client.call("join_room", {"roomId": "room"})
    reading_of(slow).pause_reading()
    await good.call("send_message", SAY)


async def test_a_slow_device_is_told_the_rest_as_one_chunk(script, door):
    async with (
        running(script, device_backlog=5, max_answer_bytes=2**26) as bridge,
        reader(bridge.address) as good,
        door(bridge.address) as slow,
    ):
        await ask(good, slow)
        for number in range(1, 200):
            script.say(DELTA)
            await good.until("ai_message_chunk", number)
        read_on(slow)
        script.finish()
        end = await slow.until("ai_message_end")
        assert text_of(slow.heard) == {"m-r-1": end["content"]}
        assert len(end["content"]) == 199 * len(DELTA)
        assert len(slow.of("ai_message_chunk")) < 150


async def test_a_stuck_device_is_cut_off_and_costs_nobody_else(script, door):
    async with (
        running(script, device_backlog=5, device_stuck_s=0.5, max_answer_bytes=2**26) as bridge,
        reader(bridge.address) as good,
        door(bridge.address) as stuck,
    ):
        await ask(good, stuck)
        async with asyncio.timeout(60):
            number = 0
            while len(bridge._connections) == 2:
                number += 1
                script.say(DELTA)
                await good.until("ai_message_chunk", number)
                await asyncio.sleep(0.01)
        script.finish()
        end = await good.until("ai_message_end")
        assert text_of(good.heard) == {"m-r-1": end["content"]}
        reading_of(stuck).abort()
