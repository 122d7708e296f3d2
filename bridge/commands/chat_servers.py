"""Chat-servers of another make on the same Redis: which there are, and what lets them hear the bridge.

They are known by what they listen to. Sources: those of `bridge.copies`.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

from bridge.errors import SettingsError, StoreUnavailable
from bridge.node_cluster import UID, Channels
from bridge.redis_client import RedisClient
from bridge.settings import Settings

Kind = Literal["classic", "sharded", "streams", "python"]
USUAL_PYTHON_CHANNEL = "socketio"
_ENDS = Channels("")
_SERVER_ID = "[0-9a-f]{16}#"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Servers that hear each other; ``name`` is what their channels begin with, or the one they have."""

    kind: Kind
    name: str
    servers: int

    def __str__(self) -> str:
        """Say it for people."""
        maker = "python-socketio" if self.kind == "python" else "Node"
        return (
            f"{self.servers} {maker} server{'s' * (self.servers != 1)}, {_MADE_WITH[self.kind]} {self.name}"
        )

    def heard_with(self, settings: Settings) -> bool:
        """Return whether the bridge speaks to them as it is set."""
        adapter, named = settings.node_adapter, self.name == settings.node_adapter_key
        match self.kind:
            case "classic":
                return adapter in ("auto", "on") and named
            case "sharded":
                return adapter == "sharded" and named
            case "streams":  # the stream may have another name than the channels
                return adapter == "streams"
            case "python":
                return settings.python_channel == self.name
            case _:
                assert_never(self.kind)

    @property
    def wanted(self) -> str:
        """What has to be set for that."""
        match self.kind:
            case "classic":
                return f"BRIDGE_NODE_ADAPTER=auto BRIDGE_NODE_ADAPTER_KEY={self.name}"
            case "sharded":
                return f"BRIDGE_NODE_ADAPTER=sharded BRIDGE_NODE_ADAPTER_KEY={self.name}"
            case "streams":
                key = f"BRIDGE_NODE_ADAPTER_KEY={self.name}"
                return f"BRIDGE_NODE_ADAPTER=streams {key}, or what their streamName is"
            case "python":
                return f"BRIDGE_PYTHON_CHANNEL={self.name}"
            case _:
                assert_never(self.kind)


_MADE_WITH: dict[Kind, str] = {
    "classic": "@socket.io/redis-adapter, key",
    "sharded": "createShardedAdapter, channelPrefix",
    "streams": "@socket.io/redis-streams-adapter, channelPrefix",
    "python": "AsyncRedisManager, channel",
}


async def look(settings: Settings, add: Callable[[str], None], *, opens: bool) -> None:
    """Print who is there and what to set; give to ``add`` what is wrong. ``opens``: the drop-in is open."""
    if not settings.redis_url:
        print("redis     none (REDIS_URL): one process, and no chat-server hears it")
        return
    client = RedisClient(settings.redis_url)
    try:
        await client.check()
        clusters = await listening(client, settings.python_channel)
    except (SettingsError, StoreUnavailable) as error:
        add(
            f"{error}: does it run, is REDIS_URL right?"
            if isinstance(error, StoreUnavailable)
            else f"{error}"
        )
    else:
        _tell(clusters, settings, add, opens=opens)
    finally:
        await client.close()


def _tell(clusters: list[Cluster], settings: Settings, add: Callable[[str], None], *, opens: bool) -> None:
    for cluster in clusters:
        heard = cluster.heard_with(settings)
        print(f"beside    {cluster}: {'they hear the bridge' if heard else 'they do not hear the bridge'}")
        if not heard:
            print(f"          set {cluster.wanted}")
    if not clusters:
        print("beside    no chat-server listens on this Redis: the bridge has all devices")
        return
    door = settings.drop_in_port or settings.port
    if opens:
        print(f"          the drop-in is open: their backend address may be port {door} of this bridge")
    else:
        print("          set BRIDGE_DROP_IN=on, or BRIDGE_DROP_IN_PORT, for them to post to the bridge")
    nodes = [cluster for cluster in clusters if cluster.kind != "python"]
    if nodes and settings.node_adapter != "off" and not any(each.heard_with(settings) for each in nodes):
        add(f"the devices of {nodes[0]} would hear no chunk: set {nodes[0].wanted}")


async def listening(client: RedisClient, python_channel: str = "") -> list[Cluster]:
    """Return the clusters that listen on the Redis now. Raises `StoreUnavailable`."""
    answered = await client.call("PUBSUB", "CHANNELS", f"*{_ENDS.response}")
    private = await client.call("PUBSUB", "CHANNELS", f"*{_ENDS.to_all}{'?' * 16}#")
    shards: list[bytes] = []
    with contextlib.suppress(StoreUnavailable):  # before Redis 7 there are none
        shards = await client.call("PUBSUB", "SHARDCHANNELS", f"*{_ENDS.to_all}")
    python = {USUAL_PYTHON_CHANNEL, python_channel} - {""}
    of_bridges = _ENDS.of_server(UID)
    our_shards = [shard.removesuffix(_ENDS.to_all.encode()) + of_bridges.encode() for shard in shards]
    bridges = await _counted(client, "SHARDNUMSUB", "sharded", our_shards, of_bridges)
    sharded = await _counted(client, "SHARDNUMSUB", "sharded", shards, _ENDS.to_all)
    found = [
        *await _counted(client, "NUMSUB", "classic", answered, _ENDS.response),
        *_but(sharded, bridges),
        *_with_streams(private),
        *await _counted(client, "NUMSUB", "python", [each.encode() for each in python], ""),
    ]
    return sorted(found, key=lambda cluster: (cluster.kind, cluster.name))


async def _counted(
    client: RedisClient, count: str, kind: Kind, channels: list[bytes], end: str
) -> list[Cluster]:
    """Return the clusters of ``channels``, each of which every server of one listens to."""
    if not channels:
        return []
    told = await client.call("PUBSUB", count, *channels)  # each channel, and how many listen to it
    pairs = zip(told[::2], told[1::2], strict=True)
    named = ((name.decode(errors="replace").removesuffix(end), int(servers)) for name, servers in pairs)
    return [Cluster(kind, name, servers) for name, servers in named if servers]


def _but(clusters: list[Cluster], bridges: list[Cluster]) -> Iterator[Cluster]:
    """Give the clusters without the bridges that listen as their servers do."""
    ours = {cluster.name: cluster.servers for cluster in bridges}
    for each in clusters:
        if others := max(0, each.servers - ours.get(each.name, 0)):
            yield Cluster(each.kind, each.name, others)


def _with_streams(channels: Iterable[bytes]) -> Iterator[Cluster]:
    """Return the clusters that have a channel for each server, and share none that bridges do not share."""
    prefixes: list[str] = []
    for channel in channels:
        prefix, _, server = channel.decode(errors="replace").rpartition(_ENDS.to_all)
        if re.fullmatch(_SERVER_ID, server):
            prefixes.append(prefix)
    return (Cluster("streams", prefix, prefixes.count(prefix)) for prefix in set(prefixes))
