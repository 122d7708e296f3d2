import sys
from pathlib import Path

# the folder of these tests has the name of the package; its own folder has to be on the path for that
sys.path.insert(0, str(Path(__file__).parents[2]))

import aiohttp
import pytest
from stub_caller import Caller

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings


@pytest.fixture(autouse=True)
def built_in_model(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path):
    def make(**given):
        url = f"sqlite+aiosqlite:///{tmp_path / 'rooms.sqlite3'}"
        plain = {"port": 0, "database_url": url, "pace": Pace(12, 0, 0), "grace_s": 0.2}
        return Settings(**(plain | given))

    return make


@pytest.fixture
async def start(settings):
    """Starts backends; each is stopped at the end."""
    backends = []

    async def begin(*, history=None, **given):
        backend = ReferenceBackend(settings(**given), history=history)
        await backend.start()
        backends.append(backend)
        return backend

    yield begin
    for backend in backends:
        await backend.stop()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


@pytest.fixture
async def backend(start):
    return await start()


@pytest.fixture
def caller(session, backend):
    return Caller(session, backend)


@pytest.fixture
async def brief_caller(start, session, monkeypatch):
    """Its answers have three tokens, always the same."""
    monkeypatch.setattr("backend_stub.model.new_nonce", lambda: "k3f9")
    return Caller(session, await start(pace=Pace(3, 0, 0)))
