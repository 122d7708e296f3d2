"""Builds what hears and asks servers that are no bridges; part of the composition root."""

from bridge.cluster_lines import ShardedLine, StreamsLine
from bridge.doors.cluster_servers import ClusterServers
from bridge.doors.node_servers import NodeServers
from bridge.everywhere import Everywhere
from bridge.ports import Telemetry
from bridge.settings import Settings
from bridge.shared import Shared
from bridge.sockets.crowd import Crowd
from bridge.sockets.manager import ClientManager


def everywhere(settings: Settings, shared: Shared, manager: ClientManager) -> Everywhere | None:
    """Return what asks all servers as one; None without Redis, or where their adapter knows no questions."""
    if shared.client is None or settings.node_adapter not in ("auto", "on"):
        return None
    return Everywhere(shared.client, shared.inbox, shared.channels, shared.uid, manager.answered)


def door(
    settings: Settings,
    shared: Shared,
    crowd: Crowd,
    *,
    manager: ClientManager,
    facts: Telemetry,
    asks: Everywhere | None,
) -> NodeServers | ClusterServers | None:
    """Return the door of the servers with the adapter that ``settings`` names, None where there is none."""
    client = shared.client
    if client is None or settings.node_adapter == "off":
        return None
    if asks is not None:
        looks = settings.node_adapter == "auto"
        return NodeServers(
            client, shared.channels, crowd, shared.audience, facts, everywhere=asks, look=looks
        )
    line: ShardedLine | StreamsLine = StreamsLine(client, shared.channels)
    if settings.node_adapter == "sharded":
        line = ShardedLine(client, shared.channels, crowd.named)
    return ClusterServers(line, crowd, facts, uid=shared.uid, answered=manager.answered)
