"""What a benchmark measures: bridge processes, with a Redis and a backend of their own, on loopback.

What the environment says of a bridge holds where the benchmark says nothing: so a setting can be measured.
"""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from bridge.commands import redis_server
from bridge.settings import config_dir

START_S = 20.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Node:
    """A bridge process, and where it listens."""

    address: str
    pid: int


@contextlib.asynccontextmanager
async def node(**settings: str) -> AsyncIterator[Node]:
    """Run a bridge by ``settings``, as long as the block, on any free port unless they name one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "serve",
        env={**os.environ, "PORT": "0", **settings}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None  # noqa: S101  (a pipe was asked for)
    try:
        async with asyncio.timeout(START_S):
            address = await _address(process.stderr)
        read = asyncio.create_task(process.stderr.read())
        yield Node(address, process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
    await read


async def _address(told: asyncio.StreamReader) -> str:
    """Return what it says of where it listens; end with what it says instead."""
    while line := await told.readline():
        if not line.startswith(b"{"):
            raise SystemExit(line.decode())
        said = json.loads(line)
        if "address" in said and "process" not in said:  # of several, their parent says when all are there
            return str(said["address"])
    raise SystemExit("unable to measure; the bridge ended")


@contextlib.asynccontextmanager
async def redis() -> AsyncIterator[str]:
    """Run an empty Redis by the bridge's own file; give its address."""
    program, _ = redis_server.find()
    with tempfile.TemporaryDirectory() as folder:
        async with redis_server.running(program, config_dir() / "redis.conf", Path(folder)) as (_, port):
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.asynccontextmanager
async def backend(**posts: Handler) -> AsyncIterator[str]:
    """Serve ``stream`` and ``complete``, as far as given, where the default profile asks."""
    paths = {"stream": "/chat/messages/stream", "complete": "/chat/messages"}
    app = web.Application()
    app.add_routes([web.post(paths[name], handler) for name, handler in posts.items()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def pids(parent: int) -> list[int]:
    """Return the processes of a bridge: its own, and those that it is the parent of."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii")
    except OSError:
        children = ""
    return [parent, *map(int, children.split())]


def used_s(pid: int) -> float:
    """Return the CPU time that a process has used, NaN where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int) -> int:
    """Return the memory that a process holds, 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0
    return int(status.partition("VmRSS:")[2].split()[0])
