"""The product as its operator has it: processes, signals, exit statuses."""

import asyncio
import json
import os
import signal
import socket
import sys
import time

import pytest
import socketio


def environ(**given):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    return {**clean, "PORT": "0", **given}


async def run(*arguments, **given):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, env=environ(**given),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_demo_proves_itself_without_a_browser():
    status, out, err = await run("bridge", "demo", "--check", OPENAI_API_KEY="k")
    assert status == 0, out + err
    assert "FAIL" not in out
    assert out.count("ok  ") == 13
    assert "TTFT" in out


@pytest.mark.parametrize(
    "arguments",
    [["--help"], *([verb, "--help"] for verb in ("serve", "demo", "doctor", "config", "tail"))],
    ids=str,
)
async def test_help_teaches(arguments):
    status, out, _ = await run("bridge", *arguments)
    assert status == 0
    assert "default" in out or "demo --check" in out


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"BACKEND_URL": "nonsense"}, "unable to use BACKEND_URL"),
        ({"BRIDGE_STAL_S": "1"}, "did you mean BRIDGE_STALL_S"),
        ({"BRIDGE_DIALECT": "klingon"}, "it must be one of"),
        ({"HOST": "0.0.0.0"}, "set BRIDGE_AUTH=jwt with BRIDGE_JWT_SECRET or BRIDGE_JWKS_URL"),  # noqa: S104
        ({"BRIDGE_MODE": "production", "BRIDGE_AUTH": "none"}, "BRIDGE_AUTH=none"),
        ({"BRIDGE_AUTH": "jwt"}, "it needs one of BRIDGE_JWT_SECRET and BRIDGE_JWKS_URL"),
        ({"BRIDGE_BACKEND_PROFILE": "nope"}, "nope.toml"),
        ({"BRIDGE_BACKEND_PROFILE": "openai_chat"}, "it needs OPENAI_API_KEY in the environment"),
    ],
    ids=str,
)
async def test_a_wrong_setting_is_one_line_and_exit_status_2(given, why):
    status, _, err = await run("bridge", "serve", **given)
    assert status == 2
    assert why in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(("profile", "status"), [("reference", 0), ("fastapi", 0), ("openai_chat", 1)])
async def test_the_doctor_judges_by_its_exit_status(backend, profile, status):
    if profile == "openai_chat":
        backend.fault = "status-500"
    given = {"BACKEND_URL": backend.url, "OPENAI_API_KEY": "k-secret"}
    got, out, err = await run("bridge", "doctor", "--profile", profile, "--prompt", "hi", **given)
    assert got == status, out + err
    assert ("wrong" in out) == bool(status)
    assert "k-secret" not in out + err


async def test_a_port_in_use_is_one_line_and_exit_status_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, err = await run("bridge", "serve", PORT=str(taken.getsockname()[1]))
    assert status == 1
    assert "the port is in use" in err
    assert len(err.strip().splitlines()) == 1


async def test_sigterm_interrupts_what_does_not_end_and_exits_in_time(backend):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge",
        env=environ(BACKEND_URL=backend.url, CHAT_STREAMING_ENABLED="on", BRIDGE_DRAIN_S="1"),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        address = json.loads(await process.stderr.readline())["address"]
    heard = asyncio.Queue()
    client = socketio.AsyncClient(reconnection=False)
    client.on("*", lambda name, data: heard.put_nowait((name, data)))
    await client.connect(address, transports=["websocket"], wait_timeout=60)
    await client.call("join_room", {"roomId": 1})
    await client.call("send_message", {"roomId": 1, "content": "x", "tokens": 2000, "tokensPerSecond": 20})
    name = ""
    while name != "ai_message_chunk":
        name, _ = await heard.get()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    while name != "ai_message_end":
        name, data = await heard.get()
    _, err = await process.communicate()
    assert time.monotonic() - began < 60  # its drain is 1 s, the answer would take 100 s
    assert process.returncode == 0
    assert data["finishReason"] == "interrupted"
    assert "Traceback" not in err.decode()
    await client.disconnect()
