"""Health, the flag, the page."""

import asyncio

import aiohttp
import pytest
from loopback import Client, running

BEARER = {"Authorization": "Bearer secret"}


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_serving_bridge_is_healthy_and_ready(bridge, http):
    for path in ("/healthz", "/readyz"):
        async with http.get(bridge.address + path) as answer:
            assert answer.status == 200


async def test_a_draining_bridge_lives_but_is_not_ready(script, http):
    async with running(script, drain_s=2) as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 1})
        await client.call("send_message", {"roomId": 1, "content": "x"})
        await client.until("ai_message_start")
        stopping = asyncio.create_task(bridge.relay.drain(60))
        await asyncio.sleep(0)
        async with http.get(f"{bridge.address}/readyz") as answer:
            assert (answer.status, (await answer.json())["reasons"]) == (503, ["draining"])
        refused = await client.call("send_message", {"roomId": 1, "content": "y"})
        assert refused["error"]["code"] == "draining"
        script.finish()
        await stopping
        assert (await client.until("ai_message_end"))["finishReason"] == "stop"


async def test_the_flag_is_switched_at_run_time(bridge, http):
    url = f"{bridge.address}/admin/flag"
    said = {"value": "off", "why": "test", "who": "ops"}
    async with http.put(url, json=said, headers=BEARER) as answer:
        assert (answer.status, (await answer.json())["value"]) == (200, "off")
    assert not await bridge.flag.streaming("room", "")
    async with http.get(url, headers=BEARER) as answer:
        state = await answer.json()
    assert (state["value"], state["source"], state["default"]) == ("off", "run-time", "on")
    (change,) = state["history"]
    assert (change["who"], change["why"], change["from"]["value"]) == ("ops", "test", "on")
    assert change["when"].endswith("Z")


async def test_a_percentage_and_lists_are_set_and_what_is_not_named_stays(bridge, http):
    url = f"{bridge.address}/admin/flag"
    for said in ({"value": 25}, {"allow": {"rooms": [42, "vip"]}}, {"deny": {"users": ["u"]}}):
        async with http.put(url, json=said, headers=BEARER) as answer:
            assert answer.status == 200
    async with http.get(url, headers=BEARER) as answer:
        state = await answer.json()
    assert state["value"] == 25
    assert state["allow"] == {"rooms": ["42", "vip"], "users": []}
    assert state["deny"] == {"rooms": [], "users": ["u"]}
    assert await bridge.flag.streaming(42, "")
    assert not await bridge.flag.streaming(42, "u")


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}], ids=str
)
async def test_the_flag_is_closed_without_its_token(bridge, http, headers):
    async with http.put(f"{bridge.address}/admin/flag", json={"value": "off"}, headers=headers) as answer:
        assert answer.status == 401
    assert await bridge.flag.streaming(1, "")


async def test_the_flag_is_closed_where_no_token_is_set(script, http):
    async with running(script, admin_token="") as bridge, http.get(f"{bridge.address}/admin/flag") as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"value": 101}',
        '{"value": true}',
        '{"value": null}',
        '{"value": "maybe"}',
        '{"value": "on", "why": 1}',
        '{"why": "nothing to do"}',
        '{"value": 1.5}',
        '{"allow": ["room"]}',
        '{"deny": {"rooms": [""]}}',
        '{"deny": {"groups": ["x"]}}',
        "[" * 50_000,
    ],
    ids=lambda body: body[:24],
)
async def test_a_value_that_is_none_is_refused(bridge, http, body):
    headers = {**BEARER, "Content-Type": "application/json"}
    async with http.put(f"{bridge.address}/admin/flag", data=body, headers=headers) as answer:
        assert answer.status == 400


async def test_a_form_of_another_site_cannot_switch_the_flag(script, http):
    async with running(script, demo=True, admin_token="") as bridge:
        async with http.put(f"{bridge.address}/admin/flag", data={"value": "off"}) as answer:
            assert answer.status == 415
        assert await bridge.flag.streaming(1, "")


async def test_the_page_is_there_only_in_the_demo(script, bridge, http):
    for path in ("/", "/docs"):
        async with http.get(bridge.address + path) as answer:
            assert answer.status == 404
    async with running(script, demo=True) as trial:
        for path, kind in (
            ("/", "text/html"),
            ("/web/client.js", "javascript"),
            ("/web/connection.js", "javascript"),
            ("/web/page.css", "text/css"),
            ("/docs", "text/html"),
            ("/docs/openapi.json", "application/json"),
            ("/docs/asyncapi.json", "application/json"),
            ("/web/docs.js", "javascript"),
        ):
            async with http.get(trial.address + path) as answer:
                assert answer.status == 200
                assert kind in answer.headers["Content-Type"]
        async with http.get(f"{trial.address}/web/../app.py") as answer:
            assert answer.status == 404
