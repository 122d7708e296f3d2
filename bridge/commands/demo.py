"""``demo``: the bridge with its own backend, for a person with a browser or, by ``--check``, a script."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx

from bridge.app import App, ListenError
from bridge.commands.proof import prove
from bridge.commands.serve import stop_signal
from bridge.profiles import Profile
from bridge.settings import Settings
from bridge.telemetry import configure_logs

BACKEND_START_S = 20.0
PORTS_TRIED = 20


async def run(settings: Settings, profile: Profile, *, check: bool) -> int:
    """Run the demo until Ctrl-C, or prove it and end. Returns the exit status."""
    configure_logs()
    with tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder:
        async with (
            _backend(Path(folder)) as backend_url,
            _bridge(settings, profile, backend_url, check=check) as address,
        ):
            if check:
                return 0 if await prove(address) else 1
            await _show(address)
    return 0


async def _show(address: str) -> None:
    stop = stop_signal()
    print(f"\n  The room, seen by three devices:  {address}/\n  Stop with Ctrl-C.\n", flush=True)
    await stop.wait()


@contextlib.asynccontextmanager
async def _bridge(
    settings: Settings, profile: Profile, backend_url: str, *, check: bool
) -> AsyncIterator[str]:
    settings = replace(settings, backend_url=backend_url, port=0 if check else settings.port, drain_s=0.5)
    app, address = await _started(settings, profile)
    try:
        yield address
    finally:
        await app.stop()


async def _started(settings: Settings, profile: Profile) -> tuple[App, str]:
    """Start on the port asked for, or on the next free one."""
    last = settings.port + PORTS_TRIED if settings.port else 0
    while True:
        app = App(settings, profile)
        try:
            return app, await app.start()
        except ListenError:
            if settings.port >= last:
                raise
            await app.stop()
            settings = replace(settings, port=settings.port + 1)


@contextlib.asynccontextmanager
async def _backend(folder: Path) -> AsyncIterator[str]:
    """Run the reference backend as a process of its own, with a fresh database; yield its address."""
    url = f"http://127.0.0.1:{_free_port()}"
    # the demo needs no key, and spends none that happens to be there
    own = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    environ = {
        **own,
        "PORT": url.rpartition(":")[2],
        "HOST": "127.0.0.1",
        "BACKEND_STUB_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'history.sqlite3'}",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "backend_stub", env=environ)
    try:
        await _answers(url, process)
        yield url
    finally:
        await _end(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def _answers(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(BACKEND_START_S), httpx.AsyncClient(trust_env=False) as client:
        while process.returncode is None:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"{url}/healthz")).is_success:
                    return
            await asyncio.sleep(0.05)
    raise ListenError("unable to run the demo; its backend ended at once")


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), timeout=3.0)
    except TimeoutError:
        process.kill()
        await process.wait()
