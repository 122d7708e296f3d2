"""A bridge in front of the reference backend."""

import pytest
from end_to_end_apps import backend_at, running

from backend_stub.model import Pace


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(first_token_s=0.05)) as backend:
        yield backend


@pytest.fixture
async def bridge(backend):
    async with running(backend.url, demo=True) as app:
        yield app
