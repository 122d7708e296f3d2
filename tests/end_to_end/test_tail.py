"""`python -m bridge tail` as its operator has it: on a terminal, in a pipe, through cuts, and refused."""

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys

import jwt
import pytest
from end_to_end_apps import Device, running
from test_command_line import environ, run

SECRET = "canary-" * 6


class Tail:
    """A running `tail`, and what it prints."""

    def __init__(self, process):
        self.process = process
        self.err = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, *arguments, stdout=asyncio.subprocess.PIPE, **given):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "tail", *arguments,
            env=environ(**given), stdout=stdout, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        tail = cls(process)
        try:
            await tail.until("watching")
            yield tail
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def until(self, words):
        """Wait until it has complained so, or reported."""
        async with asyncio.timeout(60):
            while words not in self.err:
                self.err += (await self.process.stderr.readline()).decode()

    async def line(self):
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode()

    async def stop(self):
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            return await self.process.wait()


async def test_in_a_pipe_each_message_is_a_line_and_ctrl_c_is_a_good_end(bridge):
    async with Tail.of("r", "--url", bridge.address) as tail, Device.at(bridge.address) as device:
        await device.send("q", "Hello\nthere", tokens=5)
        assert await tail.line() == "user: Hello there\n"
        said = await tail.line()
        assert said.split() == ["assistant:", *(await device.end_of("q"))["content"].split()]
        assert await tail.stop() == 0


async def test_json_lines_hold_the_message_whichever_way_it_came(bridge):
    async with Tail.of("42", "--number", "--json", "--url", bridge.address) as tail:
        async with Device.at(bridge.address, 42) as device:
            await device.send("q", "Hello", room_id=42, tokens=5)
            user, streamed = json.loads(await tail.line()), json.loads(await tail.line())
            assert (user["role"], user["content"], user["roomId"]) == ("user", "Hello", 42)
            end = await device.end_of("q")
            assert (streamed["content"], streamed["finishReason"]) == (end["content"], "stop")
        assert await tail.stop() == 0


async def test_on_a_terminal_the_answer_grows(bridge):
    ours, theirs = pty.openpty()
    try:
        async with Tail.of("r", "--url", bridge.address, stdout=theirs) as tail:
            async with Device.at(bridge.address) as device:
                await device.send("q", "Hello", tokens=2000, tokensPerSecond=20)
                shown = ""
                async with asyncio.timeout(60):
                    while len(shown.partition("assistant: ")[2]) < 10:
                        shown += (await asyncio.to_thread(os.read, ours, 4096)).decode("utf-8", "replace")
                assert not device.of("ai_message_end", "q")
            assert await tail.stop() == 0
    finally:
        os.close(ours)
        os.close(theirs)


async def test_when_the_bridge_comes_back_it_watches_on(backend, unused_tcp_port):
    async with running(backend.url, port=unused_tcp_port) as bridge:
        tailing = Tail.of("r", "--url", bridge.address)
        tail = await tailing.__aenter__()
    try:
        await tail.until("the connection is lost, trying again")
        async with running(backend.url, port=unused_tcp_port) as bridge, Device.at(bridge.address) as device:
            async with asyncio.timeout(60):
                while bridge.rooms.devices < 2:
                    await asyncio.sleep(0.05)
            await device.send("q", "Hello", tokens=2)
            assert await tail.line() == "user: Hello\n"
            assert await tail.stop() == 0
    finally:
        await tailing.__aexit__(None, None, None)


async def test_who_reads_may_have_seen_enough(bridge):
    reading, writing = os.pipe()
    async with Tail.of("r", "--url", bridge.address, stdout=writing) as tail:
        os.close(writing)
        os.close(reading)
        async with Device.at(bridge.address) as device:
            await device.send("q", "Hello", tokens=5)
            async with asyncio.timeout(60):
                _, err = await tail.process.communicate()
        assert (tail.process.returncode, err) == (0, b"")


async def test_a_token_lets_it_in_and_is_never_printed(backend, tmp_path):
    file = tmp_path / "token"
    file.write_text(jwt.encode({"sub": "ann", "exp": 4_000_000_000, "rooms": ["r"]}, SECRET))
    async with running(backend.url, auth="jwt", jwt_secret=SECRET) as bridge:
        async with Tail.of("r", "--url", bridge.address, "--token", f"@{file}") as tail:
            assert await tail.stop() == 0
        for token, room, why in (
            (f"@{file}", "s", "no member"),
            ("canary.x.y", "r", "token"),
            ("", "r", "token"),
        ):
            at = ("--url", bridge.address, *(("--token", token) if token else ()))
            status, out, err = await run("bridge", "tail", room, *at)
            assert (status, out) == (1, "")
            assert why in err
            assert "canary" not in err
            assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["a room"], 2, "a room is 1-128 of letters"),
        (["x", "--number"], 2, "it is no integer"),
        ([], 2, "ROOM"),
        (["r", "--token", "@/nowhere"], 2, "unable to read a token"),
        (["r", "--url", "http://ann:canary@127.0.0.1:9"], 2, "unable to use the address"),
        (["r", "--url", "http://127.0.0.1:9"], 1, "no bridge answers"),
    ],
    ids=str,
)
async def test_what_cannot_be_done_is_said_by_the_exit_status(arguments, status, why):
    got, out, err = await run("bridge", "tail", *arguments)
    assert (got, out) == (status, "")
    assert why in err
    assert "Traceback" not in err
    assert "canary" not in err
