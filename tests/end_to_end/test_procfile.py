"""The Procfile as honcho runs it: one bridge without Redis, or a formation of several over one."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
from end_to_end_apps import Device
from redis_server import redis_server

from bridge.commands.children import succeeds
from tests.held_ports import held_ports

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.needs("honcho")


@contextlib.asynccontextmanager
async def honcho(tmp_path, *arguments, webs, **given):
    """Run the Procfile; give the addresses of its ``webs`` bridges once all are ready."""
    with held_ports(0, 1, 100) as base:  # as honcho counts
        async with formation(tmp_path, base, *arguments, webs=webs, **given) as addresses:
            yield addresses


@contextlib.asynccontextmanager
async def formation(tmp_path, base, *arguments, webs, **given):
    backend = f"http://127.0.0.1:{base + 100}"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "BACKEND_URL": backend,
        "BACKEND_STUB_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite3'}",
        "CHAT_STREAMING_ENABLED": "on",
        **given,
    }
    command = [str(BIN / "honcho"), "start", "-p", str(base), *arguments]
    with (tmp_path / "honcho").open("w") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environ, stdout=out, stderr=out
        )
    addresses = [f"http://127.0.0.1:{base + number}" for number in range(webs)]
    try:
        async with asyncio.timeout(60):
            for url in [f"{backend}/healthz", *(f"{address}/readyz" for address in addresses)]:
                while not await succeeds(url):
                    assert process.returncode is None, (tmp_path / "honcho").read_text("utf-8")
                    await asyncio.sleep(0.1)
        yield addresses
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()
    for address in addresses:
        assert not await succeeds(f"{address}/healthz")


async def test_as_it_is_it_needs_no_redis(tmp_path):
    async with honcho(tmp_path, webs=1) as (one,), Device.at(one) as device:
        await device.send("r-1", "Hello")
        end = await device.end_of("r-1")
        assert device.text_of("r-1", merged=True) == end["content"]


@pytest.mark.needs("redis-server")
async def test_a_formation_of_two_is_one_room_over_redis(tmp_path):
    with redis_server(tmp_path) as redis:
        async with (
            honcho(tmp_path, "-c", "web=2", webs=2, REDIS_URL=redis.url) as (one, two),
            Device.at(one) as here,
            Device.at(two) as there,
        ):
            await here.send("r-1", "Hello")
            for device in (here, there):
                end = await device.end_of("r-1")
                assert device.text_of("r-1", merged=True) == end["content"]
            assert here.text_of("r-1", merged=True) == there.text_of("r-1", merged=True)
