"""Schemathesis asks every route of the OpenAPI document, rightly and wrongly, of a bridge that runs."""

import asyncio
import contextlib
import itertools
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from loopback import running

from bridge import openapi

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
FREELY = {"events_per_second": 1e6, "events_burst": 10**6, "connections_per_address": 10**4}
OPEN_ENDED = "/chat/rooms/{roomId}/stream"
"""Answers for as long as somebody hears: no tool waits for that."""
DROP_IN = ("/chat/messages", "/chat/rooms/{roomId}/active")
WITHIN_S = 200
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
"""Not whether all is taken that fits, and nothing else: a schema cannot tell printable, or bytes of UTF-8."""


STEPS = (
    {"type": "start", "messageId": "m-1"},
    {"type": "text-delta", "id": "t", "delta": "Hello"},
    {"type": "finish", "finishReason": "stop"},
)


async def stream(_):
    frames = "".join(f"data: {json.dumps(step)}\n\n" for step in STEPS)
    return web.Response(text=frames, content_type="text/event-stream")


async def complete(_):
    return web.json_response({"messageId": "w-1", "content": "whole"})


@pytest.fixture
async def script():
    """A backend that has its answer ready, whatever it is asked."""
    app = web.Application()
    app.router.add_post("/chat/messages/stream", stream)
    app.router.add_post("/chat/messages", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()


@contextlib.contextmanager
def told(bridge):
    """What the bridge calls its own faults."""
    faults, before = [], bridge.telemetry.fault
    bridge.telemetry.fault = lambda error: (faults.append(error), before(error))
    yield faults
    bridge.telemetry.fault = before


async def asked(address, folder, *options):
    """Let schemathesis ask; return what it found where it found something."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run", str(DOCUMENT), "--url", address),
        *("--checks", ",".join(CHECKS), "--header", "Authorization: Bearer secret", "--seed", "20"),
        *("--phases", "coverage,fuzzing", "--max-examples", "12", "--request-timeout", "60"),
        *("--suppress-health-check", "too_slow"),
        *("--max-failures", "5", *options),
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return "" if process.returncode == 0 else said.decode()


@pytest.mark.timeout(WITHIN_S + 20)
async def test_every_route_answers_as_its_document_says(script, tmp_path, monkeypatch):
    monkeypatch.setattr("bridge.requests.WAIT_LIMIT_S", 0.1)  # what may be waited for is not
    others = [option for path in (*DROP_IN, OPEN_ENDED) for option in ("--exclude-path", path)]
    async with running(script, drop_in="off", **FREELY) as bridge:
        with told(bridge) as faults:
            assert await asked(bridge.address, tmp_path, *others) == ""
            assert faults == []


@pytest.mark.timeout(WITHIN_S + 20)
async def test_so_does_the_drop_in(script, tmp_path, unused_tcp_port):
    these = [option for path in DROP_IN for option in ("--include-path", path)]
    async with running(script, drop_in="on", drop_in_port=unused_tcp_port, **FREELY) as bridge:
        with told(bridge) as faults:
            assert await asked(bridge.drop_in_address, tmp_path, *these) == ""
            assert faults == []


async def test_so_does_a_stream_of_a_room(script):
    answers = openapi.document()["paths"][OPEN_ENDED]["get"]["responses"]
    rooms = ("42", "a", "a" * 129, "%00", "%C3%A9", "a%2Fb", "-0", "9" * 30, "%F0%9F%98%80")
    positions = ("", "m:1", "%00", "x" * 5000, "1.m%3A9007199254740993", "%ED%A0%80")
    async with running(script, **FREELY) as bridge, aiohttp.ClientSession() as http:
        for room, streaming, position in itertools.product(rooms, ("", "true", "maybe"), positions):
            url = f"{bridge.address}/chat/rooms/{room}/stream?streaming={streaming}&lastEventId={position}"
            async with http.get(aiohttp.client.URL(url, encoded=True)) as answer:
                assert answer.content_type in answers[str(answer.status)]["content"], url


@pytest.mark.parametrize("path", ["/chat/events", "/stream/", "/messages/", "/api/chat", "/api/chat/42"])
async def test_a_body_that_is_null_is_no_object_and_not_too_large(bridge, path):
    async with aiohttp.ClientSession() as http, http.post(bridge.address + path, json=None) as absent:
        assert absent.status == 415
    head = {"Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(bridge.address + path, data=b"null", headers=head) as answer,
    ):
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "not_an_object")


@pytest.mark.parametrize("path", ["/chat/events", "/stream/", "/messages/", "/api/chat", "/api/chat/42"])
async def test_a_body_whose_length_is_too_large_is_refused_before_it_comes(bridge, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(bridge.address.rpartition(":")[2]))
    said = "Host: x\r\nContent-Type: application/json\r\nContent-Length: 9000000"
    writer.write(f"POST {path} HTTP/1.1\r\n{said}\r\n\r\n".encode())
    async with asyncio.timeout(5):  # a body may take ten seconds
        assert b"content_too_large" in await reader.readuntil(b"}}")
    writer.close()


async def test_who_asks_for_a_websocket_without_a_handshake_is_told_so_in_json(bridge):
    async with aiohttp.ClientSession() as http, http.get(f"{bridge.address}/api/v1/chat/ws") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (426, "no_websocket")
        assert answer.headers["Upgrade"] == "websocket"
