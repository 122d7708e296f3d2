"""What a process says of tokens, secrets, contents and addresses: nothing, whatever goes wrong."""

import asyncio
import json
import os
import signal
import sys
import time

import aiohttp
import jwt
import socketio

SECRET = "canary-secret-" * 3


async def test_no_secret_is_in_any_log_of_a_process():
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "serve",
        env={**environ, "PORT": "0", "CHAT_STREAMING_ENABLED": "on", "BACKEND_URL": "http://ann:canary@127.0.0.1:9",
             "BRIDGE_AUTH": "jwt", "BRIDGE_JWT_SECRET": SECRET, "BRIDGE_ADMIN_TOKEN": "canary-admin",
             "BRIDGE_HEADER_S": "5", "BRIDGE_DRAIN_S": "0.5"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        address = json.loads(await process.stderr.readline())["address"]
        await provoke(address)
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    said = (out + err).decode()
    assert "stopped" in said
    assert "canary" not in said


async def test_the_password_of_a_redis_that_does_not_answer_is_in_no_log():
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "serve",
        env={**environ, "PORT": "0", "REDIS_URL": "redis://ann:canary@127.0.0.1:9/0"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            said = await process.stderr.readuntil(b'"address"')
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    assert b"fault" in said
    assert b"canary" not in said + out + err


async def provoke(address):
    """Send canaries wherever something can be sent."""
    claims = {"sub": "canary-user", "exp": time.time() + 3600, "rooms": ["room-1"]}
    token = jwt.encode(claims, SECRET)
    sio = socketio.AsyncClient(reconnection=False)
    await sio.connect(
        f"{address}?token=canary-query", auth={"token": token}, transports=["websocket"], wait_timeout=60
    )
    await sio.call("join_room", {"roomId": "room-1"})
    for extra in ({}, {"deep": [[["canary"]]]}, {"content": 7}, {"roomId": "room-2"}):
        await sio.call("send_message", {"roomId": "room-1", "content": "canary-content", **extra})
    await sio.call("renew", {"token": "canary.canary.canary"})
    await sio.disconnect()
    heads = (
        f"GET /?token=canary HTTP/1.1\r\nAuthorization: Bearer {token}\r\nbad canary header\r\n\r\n",
        "GET /socket.io/?EIO=4&transport=polling&sid=canary HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /chat/canary?token=canary HTTP/1.1\r\nHost: x\r\n\r\n",
        "canary\r\n\r\n",
        "GET /canary",
    )
    port = int(address.rpartition(":")[2])
    for head in heads:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        await asyncio.sleep(0.2)
        writer.close()
    async with aiohttp.ClientSession() as session:
        for said in ("Bearer canary", "Bearer canary-admin"):
            async with session.get(f"{address}/admin/flag?canary", headers={"Authorization": said}) as answer:
                assert answer.status in (200, 401)
        for said, status in ((token, 200), ("canary.canary.canary", 401)):
            stream = f"{address}/chat/rooms/room-1/stream?access_token={said}&lastEventId=canary"
            async with session.get(stream) as answer:
                assert answer.status == status
