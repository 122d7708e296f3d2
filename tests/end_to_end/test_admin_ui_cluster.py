"""The Admin UI on one process sees the figures of all."""

import asyncio

import aiohttp
import pytest
import socketio
from bridge_process import node
from redis_server import redis_server

ON = {"BRIDGE_ADMIN_UI": "on", "BRIDGE_ADMIN_UI_USER": "ops", "BRIDGE_ADMIN_UI_PASSWORD": "pw"}


@pytest.mark.needs("redis-server")
async def test_a_page_at_one_node_sees_every_node(backend, tmp_path):
    with redis_server(tmp_path) as redis:
        async with node(backend, redis, **ON) as one, node(backend, redis, **ON):
            seen, both = set(), asyncio.Event()

            def stats(said):
                seen.add(said["serverId"])
                if len(seen) == 2:
                    both.set()

            async with aiohttp.ClientSession() as http:
                page = socketio.AsyncClient(reconnection=False, http_session=http)
                page.on("server_stats", stats, namespace="/admin")
                await page.connect(
                    one.address,
                    auth={"username": "ops", "password": "pw"},
                    transports=["websocket"],
                    wait_timeout=60,
                )
                async with asyncio.timeout(60):
                    await both.wait()
                await page.disconnect()
