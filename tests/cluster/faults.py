"""The faults: each breaks something of the world, waits, and mends it again."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.cluster.world import WINDOW_S

WELL_S = 20.0
TUNNEL_S = 0.8 * WINDOW_S
"""Who is away for longer than the window is told no end."""
Bound = Callable[[float, float], float]


@dataclass(slots=True)
class Injected:
    """One fault as it happened; ``node`` is the one it hit alone, ``lasted_s`` how long it hurt."""

    kind: str
    began_at_s: float
    healed_at_s: float = float("inf")
    node: str = ""
    lasted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault acts upon: the processes, their users, chance, and the record of itself."""

    world: Any
    crowd: Any
    chance: Any
    injected: Injected

    def busy_node(self):
        """Return a node that owns turns, if there is one, and note it as the one that is hit."""
        nodes = [node for node in self.world.nodes if self.crowd.running(node.name)]
        return self.hit(self.chance.choice(nodes or self.world.nodes))

    def hit(self, node):
        self.injected.node = node.name
        return node

    def over(self):
        """Note how long the trouble lasted."""
        self.injected.lasted_s = _now() - self.injected.began_at_s

    async def redis(self, *words):
        return await asyncio.to_thread(self.world.redis.command, *words)


@dataclass(frozen=True, slots=True)
class Fault:
    """``act`` breaks and mends; ``hit``, ``own`` and ``other`` bound the pauses that devices feel.

    ``hit`` is for the devices of the node that it hits alone, else ``own`` for those of the node that owns
    the turn, else ``other``. A bound is of (lease, how long the trouble lasted), in seconds; None: there is
    none. ``weight`` is how often it is chosen.
    """

    act: Callable[[Scene], Awaitable[None]]
    weight: int = 2
    hit: Bound | None = None
    own: Bound | None = None
    other: Bound | None = None


def _now():
    return asyncio.get_running_loop().time()


async def kill(scene):
    node = scene.busy_node()
    await node.end(signal.SIGKILL)
    scene.injected.began_at_s = _now()
    await asyncio.sleep(scene.chance.uniform(0.1, 1.0))
    await node.start()


async def stop(scene):
    """Pause an owner for longer than its lease."""
    node = scene.busy_node()
    node.up = False
    node.send(signal.SIGSTOP)
    await asyncio.sleep(scene.world.lease_s * scene.chance.uniform(1.2, 2.0))
    node.send(signal.SIGCONT)
    node.up = True


async def term(scene):
    """Restart every node in its turn, as a deploy does."""
    for node in scene.chance.sample(scene.world.nodes, len(scene.world.nodes)):
        status = await node.end(signal.SIGTERM)
        if status != 0:
            raise RuntimeError(f"{node.name} ended with status {status} at SIGTERM")
        await node.start()
        await asyncio.sleep(0.3)


async def redis_kill(scene, down_s=1.0):
    await asyncio.to_thread(scene.world.redis.kill)
    await asyncio.sleep(down_s)
    await asyncio.to_thread(scene.world.redis.start)
    scene.over()


async def redis_dead(scene):
    await redis_kill(scene, 10.0)


async def redis_stop(scene):
    scene.world.redis.send(signal.SIGSTOP)
    await asyncio.sleep(scene.chance.uniform(0.5, 5.0))
    scene.world.redis.send(signal.SIGCONT)
    scene.over()


async def flush(scene):
    await scene.redis("FLUSHALL")


async def forget_scripts(scene):
    await scene.redis("SCRIPT", "FLUSH")


async def client_kill(scene):
    await scene.redis("CLIENT", "KILL", "TYPE", "normal")


async def client_pause(scene):
    await scene.redis("CLIENT", "PAUSE", "1500")
    await asyncio.sleep(1.5)
    scene.over()


async def reader_kill(scene):
    """Cut every connection that waits for an inbox."""
    for line in (await scene.redis("CLIENT", "LIST")).decode().splitlines():
        known = dict(word.partition("=")[::2] for word in line.split())
        if known.get("cmd") == "xread":
            await scene.redis("CLIENT", "KILL", "ID", known["id"])


async def reader_blackhole(scene):
    """Let one node's ear go deaf: its inbox connection is alive and says nothing."""
    node = scene.hit(scene.chance.choice(scene.world.nodes))
    deaf = {connection for connection in node.proxy.connections if connection.reads}
    node.proxy.hold(deaf.__contains__)
    await asyncio.sleep(4.0)
    node.proxy.heal()


async def redis_cut(scene):
    scene.busy_node().proxy.cut()


async def latency(scene):
    nodes = scene.chance.choice([scene.world.nodes, [scene.chance.choice(scene.world.nodes)]])
    for node in nodes:
        node.proxy.latency_s = scene.chance.uniform(0.01, 0.1)
    await asyncio.sleep(scene.chance.uniform(1.0, 3.0))
    for node in nodes:
        node.proxy.heal()
    scene.over()


async def isolate(scene):
    """Cut one owner off from Redis, alone, for up to two leases: its devices may see other chunks."""
    node = scene.busy_node()
    node.proxy.hold()
    ends_at_s = _now() + scene.world.lease_s * scene.chance.uniform(0.3, 2.0)
    while _now() < ends_at_s:
        for asked in scene.crowd.running():
            asked.cut_off = True
        await asyncio.sleep(0.1)
    node.proxy.heal()
    scene.over()


async def devices(scene):
    """Drop the connections of a third of the devices."""
    for device in scene.chance.sample(scene.crowd.devices, len(scene.crowd.devices) // 3):
        device.drop()


async def tunnel(scene):
    """Keep half of the users' devices away for long; as many newcomers come when they come back."""
    here = [device for device in scene.crowd.devices if device.there and not device.name.startswith("late")]
    travellers = scene.chance.sample(here, len(here) // 2)
    for device in travellers:
        device.drop(TUNNEL_S)
    await asyncio.sleep(TUNNEL_S)
    running = scene.crowd.running()
    for _ in travellers if running else ():
        scene.crowd.visit(scene.chance.choice(running))
    await asyncio.sleep(1.0)


async def backend_cut(scene):
    scene.world.backend_proxy.cut()


async def garbage(scene):
    """Put letters into every inbox that nobody can read."""
    for key in (await scene.redis("KEYS", "bridge:inbox:*")).decode().split("\r\n")[2::2]:
        for fields in (["kind", "said", "room", "]"], ["what", "x" * 1000], ["kind", "told", "batch", "{"]):
            await scene.redis("XADD", key, "*", *fields)


async def visit(scene):
    """Let a newcomer into a turn that runs."""
    running = scene.crowd.running()
    if running:
        scene.crowd.visit(scene.chance.choice(running))


async def twice(scene):
    """Send one request from two devices on two nodes at the same moment."""
    await scene.crowd.ask_twice(scene.chance)


def _plain(limit_s):
    return lambda _lease_s, _lasted_s: limit_s


def _lease(lease_s, _lasted_s):
    return lease_s + 0.5


def _lasted(more_s):
    return lambda _lease_s, lasted_s: lasted_s + more_s


SOON = {"hit": _plain(0.5), "own": _plain(0.5), "other": _plain(0.5)}

FAULTS = {
    "kill": Fault(kill, 4, _lease, _lease, _lease),
    "stop": Fault(stop, 3, None, _lease, _lease),
    "term": Fault(term, 2),
    "redis_kill": Fault(redis_kill, 3, None, _plain(0.5), _lasted(1.0)),
    "redis_dead": Fault(redis_dead, 1, None, _plain(0.5), _lasted(1.0)),
    "redis_stop": Fault(redis_stop, 2, None, _plain(0.5), _lasted(1.0)),
    "flush": Fault(flush, 3, **SOON),
    "forget_scripts": Fault(forget_scripts, 1, **SOON),
    "client_kill": Fault(client_kill, 2, **SOON),
    "client_pause": Fault(client_pause, 2, None, _plain(0.5), _lasted(0.5)),
    "reader_kill": Fault(reader_kill, 2, None, _plain(0.3), _plain(0.3)),
    "reader_blackhole": Fault(reader_blackhole, 2, _plain(3.5), _plain(0.5), _plain(0.5)),
    "redis_cut": Fault(redis_cut, 2, **SOON),
    "latency": Fault(latency, 2, _plain(0.75), _plain(0.75), _plain(0.75)),
    "isolate": Fault(isolate, 1),
    "devices": Fault(devices, 3),
    "backend_cut": Fault(backend_cut, 2, **SOON),
    "garbage": Fault(garbage, 1, **SOON),
    "visit": Fault(visit, 0),
    "tunnel": Fault(tunnel, 0),
    "twice": Fault(twice, 0),
}
