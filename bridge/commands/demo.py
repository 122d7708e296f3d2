"""``demo``: the bridge with its own backend, for a person with a browser or, by ``--check``, a script."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from bridge.app import App
from bridge.commands import cluster, cluster_proof, redis_server, reference, trouble
from bridge.commands.children import Child
from bridge.commands.cluster import Cluster
from bridge.commands.proof import prove
from bridge.commands.serve import until_stopped
from bridge.http_server import ListenError
from bridge.profiles import Profile
from bridge.settings import Settings
from bridge.telemetry import configure_logs

PORTS_TRIED = 20


async def run(settings: Settings, profile: Profile, *, nodes: int, check: bool) -> int:
    """Run the demo until Ctrl-C, or prove it and end. Returns the exit status.

    One node needs no Redis; several get one of their own. Raises `ListenError` and `ChildError`.
    """
    configure_logs()
    settings = replace(settings, port=0 if check else settings.port, drain_s=0.5)
    work = _one(settings, profile, check=check) if nodes == 1 else _many(settings, nodes, check=check)
    status = await until_stopped(work)
    return int(check) if status is None else status


async def _one(settings: Settings, profile: Profile, *, check: bool) -> int:
    async with _backend(check=check) as (backend, backend_url):
        settings = replace(settings, backend_url=backend_url)
        async with _bridge(settings, profile) as address:
            if check:
                return 0 if await prove(address) else 1
            async with trouble.offered(backend, [], f"{address}/") as page:
                print(
                    f"\n  The room, seen by a device behind each door:  {page}\n  Stop with Ctrl-C.\n",
                    flush=True,
                )
                await _watch([backend], [])
    return 1


async def _many(settings: Settings, count: int, *, check: bool) -> int:
    program, origin = redis_server.find()
    print(f"Redis: {program} ({origin})", flush=True)
    with tempfile.TemporaryDirectory(prefix="bridge-demo-redis-") as folder:
        async with _backend(check=check) as (backend, backend_url):
            settings = replace(settings, backend_url=backend_url)
            async with cluster.running(program, settings, count, Path(folder)) as started:
                if check:
                    held = await cluster_proof.prove(started, backend_url, lease_s=settings.lease_s)
                    return 0 if held else 1
                async with trouble.offered(backend, started.nodes, started.page) as page:
                    _show(started, page)
                    await _watch([backend, started.redis], [node.child for node in started.nodes])
    return 1


def _backend(*, check: bool) -> contextlib.AbstractAsyncContextManager[tuple[Child, str]]:
    return reference.running(usual={} if check else reference.LEISURELY)


def _show(started: Cluster, page: str) -> None:
    print()
    for node in started.nodes:
        print(f"  {node.child.name}  {node.address}  process {node.child.process.pid}")
    print(f"\n  The room, seen by devices on {len(started.nodes)} nodes:  {page}")
    print(f"  While an answer grows, kill its node:  kill -9 {started.nodes[0].child.process.pid}")
    print("  Stop with Ctrl-C.\n", flush=True)


async def _watch(needed: list[Child], nodes: list[Child]) -> None:
    """Report each child that ends; return once one that is ``needed`` is gone, or the last of ``nodes``."""
    left = {asyncio.create_task(each.fate()): each for each in [*needed, *nodes]}
    try:
        while True:
            ended, _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                gone = left.pop(task)
                print(f"  {gone.name}: {task.result()}", flush=True)
                if gone in needed or not set(nodes) & set(left.values()):
                    return
    finally:
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@contextlib.asynccontextmanager
async def _bridge(settings: Settings, profile: Profile) -> AsyncIterator[str]:
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
