"""Refusals over HTTP have one shape, say nothing of what we are made of, and are counted by their code."""

import asyncio
import contextlib
import json
import time

import aiohttp
import jwt
import pytest
from aiohttp import web
from loopback import Client, running
from prometheus_client.parser import text_string_to_metric_families

from bridge.failures import as_json, counted
from bridge.http_server import listen, read_body
from bridge.metrics import CODES_LIMIT, Metrics

SECRET = "s" * 32
JWT = {"auth": "jwt", "jwt_secret": SECRET}
POLLING = "/socket.io/?EIO=4&transport=polling"


def token(*rooms):
    return jwt.encode({"sub": "ann", "exp": time.time() + 60, "rooms": list(rooms)}, SECRET)


@contextlib.asynccontextmanager
async def serving(handler, refused=None):
    """A path of our own behind the server that all doors share."""
    refused = [] if refused is None else refused
    app = web.Application(middlewares=[as_json])
    app.router.add_post("/", handler)
    app.on_response_prepare.append(counted(refused.append))
    site = await listen(app, "127.0.0.1", 0, header_s=1.0, refused=refused.append)
    try:
        yield site.address
    finally:
        await site.close()


async def refusals(bridge):
    """Return how often what was refused with which code, as Prometheus reads it."""
    async with aiohttp.ClientSession() as http, http.get(f"{bridge.address}/metrics") as answer:
        text = await answer.text()
    return {
        (sample.labels["what"], sample.labels["code"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "bridge_refusals_total"
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here?token=canary", 404, "not_found"),
        ("GET", "/admin/nothing", 404, "not_found"),
        ("PUT", "/healthz", 405, "bad_method"),
        ("DELETE", "/admin/flag", 405, "bad_method"),
        ("PATCH", "/api/chat", 405, "bad_method"),
    ],
)
async def test_what_nobody_serves_is_refused_as_the_doors_refuse(script, method, path, status, code):
    async with running(script, drop_in="off") as bridge, aiohttp.ClientSession() as http:
        async with http.request(method, bridge.address + path) as answer:
            assert answer.status == status
            said = await answer.json()
            assert said.keys() == {"error"}
            assert said["error"]["code"] == code
            assert said["error"]["message"].startswith("unable to ")
            assert ("Allow" in answer.headers) is (status == 405)
            assert "canary" not in await answer.text()
        assert (await refusals(bridge))["request", code] == 1


async def test_no_answer_names_the_library_and_its_version(script):
    heads = {}
    async with running(script, drop_in="off") as bridge, aiohttp.ClientSession() as http:
        for path in (
            "/healthz",
            "/nothing",
            "/metrics",
            POLLING,
            "/socket.io/?transport=x",
            "/api/v1/chat/ws",
        ):
            async with http.get(bridge.address + path) as answer:
                heads[path] = dict(answer.headers)
        async with http.ws_connect(f"{bridge.address}/api/v1/chat/ws") as ws:
            heads["websocket"] = dict(ws._response.headers)
        _, writer = opened = await asyncio.open_connection(
            "127.0.0.1", int(bridge.address.rpartition(":")[2])
        )
        writer.write(b"nonsense\r\n\r\n")
        heads["nonsense"] = {"Server": "bridge", "raw": (await opened[0].read()).decode()}
        writer.close()
    assert {head["Server"] for head in heads.values()} == {"bridge"}
    assert not any(
        "aiohttp" in value or "Python" in value for head in heads.values() for value in head.values()
    )


async def test_a_fault_of_a_door_is_told_as_no_more_than_that(caplog):
    async def broken(_):
        raise RuntimeError("what broke")

    refused = []
    async with (
        serving(broken, refused) as address,
        aiohttp.ClientSession() as http,
        http.post(address) as answer,
    ):
        assert (answer.status, answer.headers["Server"]) == (500, "bridge")
        assert await answer.json() == {
            "error": {"code": "internal", "message": "unable to answer; the bridge failed"}
        }
    assert "what broke" in caplog.text  # for the operator


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [(b"x" * 20, 413, "body_too_large"), (b"", 200, None)],
)
async def test_a_body_that_is_refused_is_refused_in_json_and_counted(body, status, code):
    async def read(request):
        await read_body(request, 10, within_s=1.0)
        return web.Response()

    refused = []
    async with (
        serving(read, refused) as address,
        aiohttp.ClientSession() as http,
        http.post(address, data=body) as answer,
    ):
        assert answer.status == status
        if code is not None:
            assert (await answer.json())["error"]["code"] == code
    assert refused == ([code] if code else [])


async def test_refusals_at_every_door_are_counted_by_what_and_why(script):
    limits = {"events_per_second": 0.001, "events_burst": 3, "handshake_s": 1.0, "header_s": 1.0}
    async with running(script, **JWT, **limits) as bridge, aiohttp.ClientSession() as http:
        for origin in ("https://evil.example", bridge.address):
            async with http.get(bridge.address + POLLING, headers={"Origin": origin}) as answer:
                assert answer.status == (200 if origin == bridge.address else 403)
        async with http.post(f"{bridge.address}/api/chat/42/stop") as answer:
            assert answer.status == 401
        async with Client(bridge.address, {"token": token(42)}) as client:
            for room in (42, 43):
                await client.call("join_room", {"roomId": room})
            await client.call("join_room", {"roomId": None})
            await client.call("join_room", {"roomId": 42})
        async with http.ws_connect(f"{bridge.address}/socket.io/?EIO=4&transport=websocket") as ws:
            await ws.send_str("40" + '{"token":"x.y.z"}')
            async with asyncio.timeout(20):
                while "44" not in (await ws.receive_str()):
                    pass
            await ws.send_str("4abc")
        _, writer = await asyncio.open_connection("127.0.0.1", int(bridge.address.rpartition(":")[2]))
        want = {
            ("request", "bad_origin"): 1,
            ("request", "unauthorized"): 1,
            ("event", "not_a_member"): 1,
            ("event", "missing_field"): 1,
            ("event", "rate_limited"): 1,
            ("connection", "unauthorized"): 1,
            ("connection", "bad_packet"): 1,
            ("connection", "connect_timeout"): 1,
            ("request", "head_timeout"): 1,
        }
        async with asyncio.timeout(20):
            while (seen := await refusals(bridge)) != want:
                assert seen.items() <= want.items()
                await asyncio.sleep(0.1)
        writer.close()


async def test_what_is_sent_by_who_is_sent_away_is_not_even_refused(script):
    limits = {"events_per_second": 0.001, "events_burst": 1}
    async with running(script, **JWT, **limits) as bridge, aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{bridge.address}/socket.io/?EIO=4&transport=websocket") as ws:
            await ws.send_str("40" + json.dumps({"token": token(42)}))
            with contextlib.suppress(ConnectionError):
                for _ in range(1000):
                    await ws.send_str('42["join_room",{"roomId":42}]')
            async with asyncio.timeout(20):
                async for _ in ws:
                    pass
        seen = await refusals(bridge)
    assert seen["access", "rate_limited"] == 1
    assert seen["event", "rate_limited"] < 100


def test_codes_that_are_too_many_are_counted_as_one():
    metrics = Metrics()
    for number in range(CODES_LIMIT * 3):
        metrics.refused("request", f"made-up-{number}")
    assert metrics.text().count(b"made-up-") == CODES_LIMIT
    assert f'code="other",what="request"}} {CODES_LIMIT * 2}.0'.encode() in metrics.text()
