"""A bridge and the reference backend, each as it is run, on loopback."""

import contextlib
from pathlib import Path

import pytest

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings as BackendSettings
from bridge import profiles
from bridge.app import App
from bridge.settings import load

CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.fixture
async def backend(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite3'}"
    settings = BackendSettings(port=0, database_url=url, pace=Pace(first_token_s=0.05))
    backend = ReferenceBackend(settings)
    backend.url = await backend.start()
    yield backend
    await backend.stop()


@contextlib.asynccontextmanager
async def running(backend_url, profile="reference", **chosen):
    read = profiles.read(CONFIG, profile, {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"})
    given = {"chat_streaming_enabled": True, "drain_s": 0.3, **chosen}
    settings = load({}, None, read.settings, port=0, backend_url=backend_url, **given)
    app = App(settings, read)
    app.address = await app.start()
    try:
        yield app
    finally:
        await app.stop()


@pytest.fixture
async def bridge(backend):
    async with running(backend.url, demo=True) as app:
        yield app
