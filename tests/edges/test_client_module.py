"""The client module of the page: its own tests in Node, and in front of a bridge over every way it knows."""

import asyncio
import contextlib
import json
import shutil
import time
from pathlib import Path

import jwt
import pytest
from loopback import Client, running

HERE = Path(__file__).resolve().parents[1] / "web_client"
SECRET = "s" * 32
STREAMS = [
    "overWebSocket",
    "overEventStream",
    "overSocketIo",
    "overUiStream",
    pytest.param("socket.io-client", marks=pytest.mark.needs("socket.io-client")),
]

pytestmark = pytest.mark.needs("node")


async def node(*arguments, **pipes):
    return await asyncio.create_subprocess_exec(
        shutil.which("node"), "--experimental-websocket", "--no-warnings", *arguments, **pipes
    )


@pytest.mark.parametrize("tests", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name)
async def test_its_own_tests(tests):
    process = await node("--test", str(tests), stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(120):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


class Page:
    def __init__(self, process):
        self.process = process
        self.told = []

    async def until(self, seen):
        async with asyncio.timeout(60):
            while not (self.told and seen(self.told[-1])):
                self.told.append(json.loads(await self.process.stdout.readline()))
        return self.told[-1]

    async def shows(self, *messages):
        """Wait until these are its messages: role, text and state of each."""

        def seen(line):
            shown = line.get("shown", {"messages": []})["messages"]
            return [(each["role"], each["text"], each["state"]) for each in shown] == list(messages)

        return (await self.until(seen))["shown"]

    async def connected(self, yes=True):
        await self.until(lambda line: line.get("shown", {}).get("connected") is yes)

    def call(self, name, argument=None):
        self.process.stdin.write(json.dumps([name, argument]).encode() + b"\n")


@contextlib.asynccontextmanager
async def page(address, way, *, connects=True, **options):
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    given = {"roomId": "room", **options, "way": way}
    process = await node(str(HERE / "device.mjs"), address, json.dumps(given), **pipes)
    shown = Page(process)
    try:
        if connects:
            await shown.connected()
        yield shown
    finally:
        with contextlib.suppress(ConnectionError):
            shown.call("exit")
        async with asyncio.timeout(60):
            await process.wait()


@pytest.mark.parametrize("streaming", [True, None])
@pytest.mark.parametrize("way", STREAMS)
async def test_an_answer_grows_through_a_cut_and_a_reload(bridge, script, way, streaming):
    auth = {} if streaming is None else {"streaming": streaming}
    async with page(bridge.address, way, auth=auth) as first:
        first.call("send", "hi")
        await first.until(lambda line: [m["state"] for m in line["shown"]["messages"]][:1] == ["done"])
        script.say("Hel")
        await first.shows(("user", "hi", "done"), ("assistant", "Hel", "streaming"))
        first.call("drop")
        await first.connected(False)
        script.say("lo ")
        await first.shows(("user", "hi", "done"), ("assistant", "Hello ", "streaming"))
        async with page(bridge.address, way, auth=auth) as reloaded:
            await reloaded.shows(("assistant", "Hello ", "streaming"))
            script.say("🌞\n\n")
            script.finish()
            await reloaded.shows(("assistant", "Hello 🌞\n\n", "done"))
        await first.shows(("user", "hi", "done"), ("assistant", "Hello 🌞\n\n", "done"))
        assert not [line for line in first.told if "error" in line]
    assert len(script.requests) == 1


@pytest.mark.parametrize("way", [*STREAMS, "overCompleteCall"])
async def test_a_stop_stops_for_all(bridge, script, way):
    async with Client(bridge.address) as other, page(bridge.address, way) as shown:
        await other.call("join_room", {"roomId": "room"})
        shown.call("send", "hi")
        script.say("Hel")
        await other.until("ai_message_chunk")
        await shown.until(lambda line: line["shown"]["thinking"] or line["shown"]["messages"][1:])
        shown.call("stop")
        await shown.shows(("user", "hi", "done"), ("assistant", "Hel", "done"))
        assert (await other.until("ai_message_end"))["finishReason"] == "cancelled"


async def test_where_nothing_streams_the_answer_comes_whole(bridge, script):
    async with page(bridge.address, "overCompleteCall") as shown:
        shown.call("send", "hi")
        await shown.until(lambda line: line["shown"]["thinking"])
        script.say("Hel", "lo")
        script.finish()
        state = await shown.shows(("user", "hi", "done"), ("assistant", "Hello", "done"))
        assert state["thinking"] == []


async def test_an_answer_that_fails_is_told_where_nothing_streams(bridge, script):
    async with page(bridge.address, "overCompleteCall") as shown:
        shown.call("send", "hi")
        script.say("Hel")
        script.steps.put_nowait({"type": "error", "errorText": "secret"})
        script.finish()
        await shown.shows(("user", "hi", "done"), ("assistant", "Hel", "error"))


@pytest.mark.parametrize("way", [*STREAMS, "overCompleteCall"])
async def test_a_token_is_shown_by_every_way(script, way):
    claims = {"sub": "ann", "exp": time.time() + 60, "rooms": ["room"]}
    async with (
        running(script, auth="jwt", jwt_secret=SECRET) as bridge,
        page(bridge.address, way, auth={"token": jwt.encode(claims, SECRET)}) as shown,
    ):
        shown.call("send", "hi")
        script.say("yes")
        script.finish()
        await shown.shows(("user", "hi", "done"), ("assistant", "yes", "done"))


@pytest.mark.parametrize("way", STREAMS)
async def test_a_token_that_is_refused_is_told(script, way):
    claims = {"sub": "ann", "exp": time.time() - 1, "rooms": ["room"]}
    expired = {"token": jwt.encode(claims, SECRET)}
    async with (
        running(script, auth="jwt", jwt_secret=SECRET) as bridge,
        page(bridge.address, way, connects=False, auth=expired) as shown,
    ):
        line = await shown.until(lambda line: "error" in line)
        assert line["error"]["code"] == "token_expired"


@pytest.mark.parametrize("way", [*STREAMS, "overCompleteCall"])
async def test_a_refusal_is_told(script, way):
    async with (
        running(script, max_content_bytes=5) as bridge,
        page(bridge.address, way) as shown,
    ):
        shown.call("send", "much too long")
        line = await shown.until(lambda line: "error" in line)
        assert line["error"]["code"] == "content_too_large"
        await shown.shows(("user", "much too long", "error"))
