"""The processes of a run: bridge nodes, their redis-server, the reference backend, proxies between them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings as BackendSettings
from tests.cluster.proxy import FaultProxy
from tests.held_ports import HeldPort
from tests.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
STARTS_S = 90.0
WINDOW_S, TURN_S, STALL_S = 10.0, 60.0, 8.0


class Node:
    """One bridge process on a port of its own, behind a proxy to Redis; may die and come back."""

    def __init__(self, name, folder, settings, redis_port):
        self.name = name
        self.proxy = FaultProxy(redis_port)
        self.process = None
        self.up = False
        self._settings, self._log = settings, folder / f"{name}.log"
        self._held = HeldPort()
        self.address = f"http://127.0.0.1:{self._held.number}"

    async def start(self):
        """Start, and return once it listens."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
        redis = {"REDIS_URL": f"redis://127.0.0.1:{self.proxy.port}/0", "PORT": str(self._held.number)}
        command = [sys.executable, "-m", "tests.cluster.watched", "serve"]
        began = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env={**clean, **self._settings, **redis}, stderr=log
            )
        async with asyncio.timeout(STARTS_S):
            while not any("address" in said for said in self._said(began)):
                if self.process.returncode is not None:
                    raise RuntimeError(f"a node did not start; see {self._log}")
                await asyncio.sleep(0.05)
        self.up = True

    async def end(self, number):
        """Send a signal that ends it, and wait until it has ended; return its exit status."""
        self.up = False
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()

    def send(self, number):
        self.process.send_signal(number)

    def free(self):
        """Let anybody have its port."""
        self._held.close()

    async def figures(self):
        """Return what it holds: memory and file descriptors, as the kernel says, and its tasks."""
        began = self._log.stat().st_size
        self.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(30):
            while not (said := [each for each in self._said(began) if "tasks" in each]):
                await asyncio.sleep(0.02)
        place = Path("/proc") / str(self.process.pid)
        pages = int((place / "statm").read_text().split()[1])
        memory_bytes = pages * os.sysconf("SC_PAGE_SIZE")
        return {
            "memory_bytes": memory_bytes,
            "descriptors": len(list((place / "fd").iterdir())),
            "tasks": said[-1]["tasks"],
        }

    def _said(self, began):
        with self._log.open("rb") as log:
            log.seek(began)
            for line in log:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)


class World:
    """Everything of a run; ``folder`` takes Redis' data, the backend's history and the nodes' logs."""

    def __init__(self, folder, *, nodes, lease_s, profile="reference", drain_s=0.5):
        self.folder, self.lease_s = folder, lease_s
        self.redis = RedisServer(folder)
        url = f"sqlite+aiosqlite:///{folder / 'history.sqlite3'}"
        pace = Pace(60, 30, 0.05)
        self.backend = ReferenceBackend(BackendSettings(port=0, database_url=url, pace=pace, grace_s=TURN_S))
        self.backend_proxy = None
        self.nodes = []
        self._names = [f"node-{number}" for number in range(1, nodes + 1)]
        self._settings = {
            "CHAT_STREAMING_ENABLED": "on",
            "BRIDGE_BACKEND_PROFILE": profile,
            "BRIDGE_LEASE_S": str(lease_s),
            "BRIDGE_GUARD": "off",  # it would take so much trouble for a reason to stop
            "BRIDGE_DRAIN_S": str(drain_s),
            "BRIDGE_TURN_S": str(TURN_S),
            "BRIDGE_FIRST_DELTA_S": str(STALL_S),
            "BRIDGE_STALL_S": str(STALL_S),
            "BRIDGE_RESUME_WINDOW_S": str(WINDOW_S),
        }

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, folder, **given):
        world = cls(folder, **given)
        try:
            await world.start()
            yield world
        finally:
            await world.stop()

    async def start(self):
        await asyncio.to_thread(self.redis.start)
        address = await self.backend.start()
        self.backend_proxy = FaultProxy(int(address.rpartition(":")[2]))
        await self.backend_proxy.start()
        settings = {**self._settings, "BACKEND_URL": f"http://127.0.0.1:{self.backend_proxy.port}"}
        for name in self._names:
            node = Node(name, self.folder, settings, self.redis.port)
            await node.proxy.start()
            self.nodes.append(node)
        await asyncio.gather(*(node.start() for node in self.nodes))

    async def stop(self):
        for node in self.nodes:
            with contextlib.suppress(ProcessLookupError, AttributeError):
                node.send(signal.SIGCONT)
            if node.process is not None:
                await node.end(signal.SIGKILL)
            await node.proxy.stop()
            node.free()
        if self.backend_proxy is not None:
            await self.backend_proxy.stop()
        await self.backend.stop()
        self.redis.end()

    def heal(self):
        """Let every network be well again."""
        for node in self.nodes:
            node.proxy.heal()
        self.backend_proxy.heal()

    def pick(self, chance):
        """Return a node that is up, for a device to connect to."""
        return chance.choice([node for node in self.nodes if node.up] or self.nodes)
