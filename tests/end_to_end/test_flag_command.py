"""`python -m bridge flag` as its operator has it: on Redis, on a running bridge, and wrongly used."""

import asyncio
import contextlib
import json
import re

import aiohttp
import pytest
from bridge_process import node
from end_to_end_apps import Device, running
from redis_server import redis_server
from test_command_line import run

from bridge.__main__ import main

SECRET = "secret"
BEARER = {"Authorization": f"Bearer {SECRET}"}
TOKEN = {"BRIDGE_ADMIN_TOKEN": SECRET}


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


async def flag(*arguments, **given):
    status, out, err = await run("bridge", "flag", *arguments, **given)
    assert status == 0, out + err
    return out


@pytest.mark.parametrize("arguments", [["--help"], ["rollout", "--help"], ["allow", "--help"]], ids=str)
async def test_help_teaches_every_action(arguments):
    out = await flag(*arguments)
    words = ["show", "rollout 25", "allow ROOM", "history", "off, deny, on, allow, percentage"]
    assert all(word in out for word in words) or "--why" in out


@pytest.mark.needs("redis-server")
@pytest.mark.timeout(600)  # eleven processes start one after another
async def test_an_operator_sets_the_flag_in_redis_bridge_or_no_bridge(redis):
    given = {"REDIS_URL": redis.url, "CHAT_STREAMING_ENABLED": "on"}
    assert "on" in await flag("show", **given)
    assert "default" in await flag("show", **given)
    await flag("rollout", "25", "--why", "first quarter", "--who", "ann", **given)
    await flag("allow", "vip", "42", **given)
    out = await flag("deny", "--user", "eve", **given)
    assert "25 %, 2 allowed, 1 denied" in out
    shown = json.loads(await flag("show", "--json", **given))
    assert (shown["value"], shown["source"], shown["default"]) == (25, "run-time", "on")
    assert (shown["allow"]["rooms"], shown["deny"]["users"]) == (["42", "vip"], ["eve"])
    history = json.loads(await flag("history", "--json", **given))
    assert [change["value"] for change in history] == [25, 25, 25]
    assert (history[-1]["who"], history[-1]["why"], history[-1]["from"]["value"]) == (
        "ann",
        "first quarter",
        "on",
    )
    lines = (await flag("history", **given)).splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("on -> 25 %  by ann: first quarter")
    await flag("forget", "vip", "42", "--user", "eve", **given)
    assert json.loads(await flag("off", "--json", **given))["value"] == "off"


async def test_without_redis_it_talks_to_a_running_bridge(backend):
    async with running(backend.url, admin_token=SECRET) as bridge:
        at = {**TOKEN, "BRIDGE_ADMIN_URL": bridge.address}
        await flag("off", "--why", "night", "--who", "ann", **at)
        assert not await bridge.flag.streaming("room", "")
        (change,) = (await bridge.flag.state()).history
        assert (change.reason.who, change.reason.why) == ("ann", "night")
        await flag("allow", "room", "--url", bridge.address, **TOKEN)
        assert "note" in await flag("show", **at)
        await flag("rollout", "0", **at)
        assert await bridge.flag.streaming("room", "")
        assert len((await flag("history", **at)).splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "given", "status", "why"),
    [
        (["rollout", "101"], {}, 2, "no whole percentage"),
        (["rollout", "half"], {}, 2, "no whole percentage"),
        (["allow"], {}, 2, "name a ROOM or a --user"),
        (["allow", "x" * 129], {}, 2, "one line of at most"),
        (["on", "--why", "a\nb"], {}, 2, "one line of at most"),
        (["maybe"], {}, 2, "invalid choice"),
        ([], {}, 2, "ACTION"),
        (["show"], {"BRIDGE_ADMIN_URL": "nonsense"}, 2, "BRIDGE_ADMIN_URL"),
        (["show"], {"BRIDGE_ADMIN_URL": "http://127.0.0.1:9"}, 1, "no bridge answers"),
        (["on"], {"REDIS_URL": "redis://127.0.0.1:9/0"}, 1, "unable to ask Redis"),
        (
            ["on"],
            {"REDIS_URL": "redis://127.0.0.1:9/0", "BRIDGE_FLAG_PROVIDER": "a:b"},
            1,
            "BRIDGE_FLAG_PROVIDER",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_by_the_exit_status(monkeypatch, capsys, arguments, given, status, why):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    try:
        got = main(["flag", *arguments])
    except SystemExit as exited:  # argparse ends the process itself
        got = exited.code
    out, err = capsys.readouterr()
    assert (got, out) == (status, "")
    assert why in err
    assert err.count("unable to") == (len(err.splitlines()) == 1)


async def test_a_wrong_token_is_refused(backend):
    async with running(backend.url, admin_token=SECRET) as bridge:
        for token in ({}, {"BRIDGE_ADMIN_TOKEN": "wrong"}):
            status, _, err = await run("bridge", "flag", "off", "--url", bridge.address, **token)
            assert status == 1
            assert "the bearer token is wrong or missing" in err
        assert await bridge.flag.streaming("room", "")


@contextlib.asynccontextmanager
async def flag_of(address):
    """Ask a node for its value."""
    async with aiohttp.ClientSession(headers=BEARER) as http:

        async def ask():
            async with http.get(f"{address}/admin/flag") as answer:
                return (await answer.json())["value"]

        yield ask


@pytest.mark.needs("redis-server")
async def test_flips_while_turns_begin_on_two_nodes_give_each_turn_one_path(backend, redis):
    async with (
        node(backend, redis, **TOKEN) as one,
        node(backend, redis, **TOKEN) as two,
        Device.at(one.address) as here,
        Device.at(two.address) as there,
        aiohttp.ClientSession(headers=BEARER) as http,
    ):

        async def flip():
            while True:
                for address, value in ((one.address, "off"), (two.address, "on")):
                    async with http.put(f"{address}/admin/flag", json={"value": value}) as answer:
                        assert answer.status == 200
                    await asyncio.sleep(0.1)

        flipping = asyncio.create_task(flip())
        asked = []
        streamed = set()
        while len(asked) < 20 or len(streamed) < 2:  # both ways, however long that takes
            asked.append(name := f"r-{len(asked)}")
            await (here, there)[len(asked) % 2].send(name, "Hello", tokens=5)
            await here.answer_of(name)
            streamed.add(bool(here.of("ai_message_end", name)))
        for name in asked:
            for device in (here, there):
                final = await device.answer_of(name)
                ends = device.of("ai_message_end", name)
                assert [end["content"] for end in ends] in ([], [final["content"]])
                answers = [m for m in device.of("new_message", name) if m["role"] == "assistant"]
                assert len(answers) == 1
            assert len(here.of("ai_message_end", name)) == len(there.of("ai_message_end", name))
            assert backend.tally.calls[name].posts == 1
        flipping.cancel()
        await asyncio.gather(flipping, return_exceptions=True)


@pytest.mark.needs("redis-server")
async def test_a_flip_by_the_command_line_is_obeyed_by_every_node_after_a_restart_of_redis_too(
    backend, redis
):
    async with (
        node(backend, redis, **TOKEN) as one,
        node(backend, redis, **TOKEN) as two,
        flag_of(one.address) as first,
        flag_of(two.address) as second,
    ):
        for value in ("off", "on"):
            await flag(value, REDIS_URL=redis.url)
            async with asyncio.timeout(60):
                while (await first(), await second()) != (value, value):
                    await asyncio.sleep(0.01)
        await flag("rollout", "25", REDIS_URL=redis.url)
        redis.kill()
        assert await first() == 25
        redis.start()
        await flag("rollout", "30", "--url", one.address, **TOKEN)
        async with asyncio.timeout(60):
            while await second() != 30:
                await asyncio.sleep(0.01)


@pytest.mark.needs("redis-server")
async def test_the_benchmark_tells_how_soon_nodes_obey():
    status, out, err = await run("benchmarks.flag", "--flips", "5")
    assert status == 0, out + err
    assert "turns by the wrong path: 0" in out
    assert re.search(r"p95 [\d.]+ ms", out)
