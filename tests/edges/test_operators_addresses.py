"""Where operators and probes look: an address of their own, and what a process says of its readiness."""

import asyncio
import io
import signal

import aiohttp
import pytest
from loopback import running
from redis_server import redis_server

from bridge.doors.admin import BODY_LIMIT_BYTES
from bridge.node import DEAF_S


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_figures_ask_for_their_own_token_where_one_is_set(script):
    async with running(script, metrics_token="looks") as bridge, aiohttp.ClientSession() as http:
        for said, wanted in ((None, 401), ("Bearer secret", 401), ("Bearer looks", 200)):
            headers = {} if said is None else {"Authorization": said}
            async with http.get(f"{bridge.address}/metrics", headers=headers) as answer:
                assert answer.status == wanted
        async with http.get(
            f"{bridge.address}/admin/flag", headers={"Authorization": "Bearer looks"}
        ) as answer:
            assert answer.status == 401


async def status(http, address):
    async with http.get(address) as answer:
        return answer.status


async def reasons(http, bridge):
    async with http.get(f"{bridge.address}/readyz") as answer:
        return (await answer.json())["reasons"]


async def until(http, bridge, expected):
    async with asyncio.timeout(DEAF_S + 60):
        while await reasons(http, bridge) != expected:
            await asyncio.sleep(0.1)


async def test_with_an_address_of_their_own_operators_doors_are_nowhere_else(script, http, unused_tcp_port):
    async with running(script, admin_port=unused_tcp_port, drop_in="off") as bridge:
        assert bridge.admin_address.endswith(f":{unused_tcp_port}")
        for path in ("/metrics", "/admin/flag", "/admin/alerts"):
            assert await status(http, bridge.address + path) == 404
        assert await status(http, f"{bridge.admin_address}/metrics") == 200
        assert await status(http, f"{bridge.admin_address}/admin/flag") == 401
        for address in (bridge.address, bridge.admin_address):
            assert await status(http, f"{address}/readyz") == await status(http, f"{address}/healthz") == 200
        assert await status(http, f"{bridge.admin_address}/socket.io/?EIO=4&transport=polling") == 404


async def test_what_an_operator_says_has_a_bound(bridge, http):
    for method, path in (("PUT", "/admin/flag"), ("POST", "/admin/alerts")):
        for bearer, code in (("Bearer guessed", 401), ("Bearer secret", 413)):
            headers = {"Content-Type": "application/json", "Authorization": bearer}
            data = io.BytesIO(b" " * (BODY_LIMIT_BYTES + 1))
            async with http.request(method, bridge.address + path, data=data, headers=headers) as answer:
                assert answer.status == code


@pytest.mark.parametrize(("path", "ready"), [("/chat/nothing", True), ("", True), ("/fails", False)])
async def test_the_backend_is_asked_where_that_is_wanted(script, http, path, ready):
    async with running(script, ready_backend_path=path) as bridge:
        assert await reasons(http, bridge) == ([] if ready else ["backend"])
        assert await status(http, f"{bridge.address}/healthz") == 200


@pytest.mark.needs("redis-server")
async def test_a_process_that_redis_answers_no_more_is_not_ready_and_is_again(script, http, tmp_path):
    with redis_server(tmp_path) as redis:
        async with running(script, redis_url=redis.url) as bridge:
            assert await status(http, f"{bridge.address}/readyz") == 200
            redis.send(signal.SIGSTOP)
            try:
                await until(http, bridge, ["store", "inbox"])
            finally:
                redis.send(signal.SIGCONT)
            await until(http, bridge, [])


@pytest.mark.needs("redis-server")
async def test_a_process_that_hears_nothing_is_not_ready_though_redis_answers(script, http, tmp_path):
    with redis_server(tmp_path) as redis:
        async with running(script, redis_url=redis.url) as bridge:

            async def deaf(*_, **__):
                await asyncio.sleep(0.1)
                return []

            bridge.shared.store._reader._line.call = deaf
            await until(http, bridge, ["inbox"])
            assert await status(http, f"{bridge.address}/healthz") == 200
