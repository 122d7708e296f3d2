"""Several nodes over a Redis of their own, each a process, as an operator would run them."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bridge.commands import redis_server
from bridge.commands.children import Child, child, free_ports, succeeds
from bridge.settings import Settings, config_dir, environment

PORTS_TRIED = 50


@dataclass(frozen=True, slots=True)
class Node:
    """A bridge process and its address."""

    child: Child
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """What runs: a Redis, and the nodes over it."""

    redis: Child
    nodes: tuple[Node, ...]

    @property
    def page(self) -> str:
        """Return the address of the page, which says to the page where the nodes are."""
        ports = ",".join(str(node.port) for node in self.nodes)
        return f"{self.nodes[0].address}/#nodes={ports}"


@contextlib.asynccontextmanager
async def running(program: str, settings: Settings, count: int, folder: Path) -> AsyncIterator[Cluster]:
    """Run ``count`` nodes by ``settings`` over the redis-server ``program``, whose data is in ``folder``.

    `Settings.port` is the first of the nodes' ports, 0: any.

    Raises `ChildError`.
    """
    async with contextlib.AsyncExitStack() as stack:
        config = config_dir() / "redis.conf"
        redis, port = await stack.enter_async_context(redis_server.running(program, config, folder))
        settings = replace(settings, redis_url=f"redis://127.0.0.1:{port}/0")
        nodes = tuple([await stack.enter_async_context(node) for node in _nodes(settings, count)])
        for node in nodes:
            await node.child.ready(partial(succeeds, f"{node.address}/readyz"))
        yield Cluster(redis, nodes)


@contextlib.asynccontextmanager
async def alone(settings: Settings, log: Path | None = None) -> AsyncIterator[Node]:
    """Run one node by ``settings``, without a Redis. See `child` for ``log``. Raises `ChildError`."""
    (starting,) = _nodes(replace(settings, redis_url="", processes=1), 1, log)
    async with starting as node:
        await node.child.ready(partial(succeeds, f"{node.address}/readyz"))
        yield node


def _nodes(
    settings: Settings, count: int, log: Path | None = None
) -> list[contextlib.AbstractAsyncContextManager[Node]]:
    ports = free_ports(settings.host, settings.port, count, tried=PORTS_TRIED)
    addresses = [_address(settings.host, port) for port in ports]
    # the page comes from one node and connects to all, under whichever name the browser knows this machine
    local = [_address("localhost", port) for port in ports]
    settings = replace(settings, origins=(*settings.origins, *addresses, *local))
    return [
        _node(f"node {number}", replace(settings, port=port), address, log)
        for number, (port, address) in enumerate(zip(ports, addresses, strict=True), 1)
    ]


@contextlib.asynccontextmanager
async def _node(name: str, settings: Settings, address: str, log: Path | None) -> AsyncIterator[Node]:
    command = (sys.executable, "-m", "bridge", "serve")
    environ = {**os.environ, **environment(settings)}
    async with child(name, *command, environ=environ, log=log) as process:
        yield Node(process, address, settings.port)


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
