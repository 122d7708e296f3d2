"""A path that the backend's profile names stays the backend's where a chat-server finds the bridge there."""

import aiohttp
import pytest
from aiohttp import web
from loopback import running

from bridge.profiles import Call, CompleteCall, Profile


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


def test_a_profile_knows_its_paths():
    profile = Profile(Call("/api/chat/{conversationId}"), CompleteCall(Call("/messages/")))
    assert profile.paths == ("/api/chat/{conversationId}", "/messages/")
    assert Profile(Call("/stream/"), complete=None).paths == ("/stream/",)


@pytest.mark.parametrize(("shares", "status"), [("on", 418), ("off", 415)])
async def test_the_backend_keeps_its_paths_where_its_callers_come(script, http, shares, status):
    app = web.Application()

    async def teapot(_):
        return web.Response(status=418)

    app.router.add_post("/api/chat/{id}", teapot)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    script.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    profile = Profile(Call("/api/chat/{conversationId}"))
    async with running(script, profile, drop_in=shares) as bridge:
        for path, expected in (("/api/chat/room", status), ("/stream/", 415)):
            async with http.post(bridge.address + path, data=b"x") as answer:
                assert answer.status == expected
    await runner.cleanup()
