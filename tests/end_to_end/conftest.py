"""A bridge and the reference backend, each as it is run, on loopback."""

import contextlib
from pathlib import Path

import pytest

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings as BackendSettings
from bridge.app import App
from bridge.settings import Settings

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
async def running(backend_url, **chosen):
    given = {"chat_streaming_enabled": True, "backend_profile": "reference", "drain_s": 0.3, **chosen}
    app = App(Settings(port=0, backend_url=backend_url, **given), CONFIG)
    app.address = await app.start()
    try:
        yield app
    finally:
        await app.stop()


@pytest.fixture
async def bridge(backend):
    async with running(backend.url, demo=True) as app:
        yield app
