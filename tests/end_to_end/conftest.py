"""A bridge in front of the reference backend."""

import pytest
from end_to_end_apps import backend_at, running

from backend_stub.model import Pace


@pytest.fixture
def pace():
    """How answers come; a test may ask for another."""
    return Pace(first_token_s=0.05)


@pytest.fixture
async def backend(tmp_path, pace):
    async with backend_at(tmp_path, pace) as backend:
        yield backend


@pytest.fixture
async def bridge(backend):
    async with running(backend.url, demo=True) as app:
        yield app
