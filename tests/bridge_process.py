"""``python -m bridge serve`` in a process of its own, which a test may kill."""

import asyncio
import contextlib
import json
import os
import signal
import sys

LEASE_S = 1.0


class NodeProcess:
    """A running bridge."""

    def __init__(self, process):
        self.process = process
        self.address = ""

    def send(self, number):
        self.process.send_signal(number)


@contextlib.asynccontextmanager
async def node(backend, redis, **given):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    settings = {
        "PORT": "0",
        "BACKEND_URL": backend.url,
        "REDIS_URL": redis.url,
        "CHAT_STREAMING_ENABLED": "on",
        "BRIDGE_BACKEND_PROFILE": "reference",
        "BRIDGE_LEASE_S": str(LEASE_S),
        "BRIDGE_DRAIN_S": "0.3",
        "BRIDGE_CONNECT_S": "100",
        "BRIDGE_FIRST_DELTA_S": "100",
        "BRIDGE_STALL_S": "100",
        **given,
    }
    command = [sys.executable, "-m", "bridge", "serve"]
    process = await asyncio.create_subprocess_exec(
        *command, env={**clean, **settings}, stderr=asyncio.subprocess.PIPE
    )
    started = NodeProcess(process)
    async with asyncio.timeout(60):
        while not started.address:
            said = json.loads(await process.stderr.readline())
            if "process" not in said:  # of several, their parent says when all are there
                started.address = said.get("address", "")
    reading = asyncio.create_task(process.stderr.read())
    try:
        yield started
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()
        await reading
