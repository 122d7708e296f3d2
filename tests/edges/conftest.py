"""A bridge in front of a scripted backend, for each test a new one."""

import time
from types import SimpleNamespace

import pytest
from aiohttp import web
from loopback import Script, running


@pytest.fixture
async def script():
    script = Script()
    app = web.Application()
    app.router.add_post("/chat/messages/stream", script.stream)
    app.router.add_post("/chat/messages", script.complete)
    app.router.add_get("/fails", script.fails)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    script.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield script
    await runner.cleanup()


@pytest.fixture
async def bridge(script):
    async with running(script) as app:
        yield app


@pytest.fixture
def wall(monkeypatch):
    """The clock by which tokens end; the test moves it."""
    wall = SimpleNamespace(ahead_s=0.0)
    wall.time = lambda: time.time() + wall.ahead_s
    monkeypatch.setattr("bridge.border.time", wall)
    return wall
