"""The copies of a room's messages for servers that are no bridges, in every format that is wanted.

Each copy is one Redis command, run by the script that keeps the message: what was kept is published, once,
and what was fenced is not. Sources: @socket.io/redis-adapter 8.3.0 (classic and sharded),
@socket.io/redis-streams-adapter 0.3.1, python-socketio 5.18.1 (async_pubsub_manager.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge import node_cluster
from bridge.errors import ClusterMalformed
from bridge.events import Id
from bridge.javascript import as_json
from bridge.messages import Message, event_name, payload
from bridge.node_cluster import EVENT, NAMESPACE, UID, Channels
from bridge.ports import Command

BROADCAST = 3
STREAM_LENGTH = 10_000
"""The streams adapter's own bound."""


@dataclass(slots=True)
class Audience:
    """Whether servers that are no bridges listen."""

    there: bool = False


Format = Callable[[Id, str, dict[str, Any]], Command]
"""Makes the copy of one event of a room."""


def classic(channels: Channels) -> Format:
    """Say it to servers with ``createAdapter`` of @socket.io/redis-adapter."""

    def copy(room_id: Id, event: str, data: dict[str, Any]) -> Command:
        return "PUBLISH", channels.of_room(room_id), node_cluster.emit(event, (data,), (room_id,))

    return copy


def sharded(channels: Channels) -> Format:
    """Say it to servers with ``createShardedAdapter``, on the one channel that all of them hear."""

    def copy(room_id: Id, event: str, data: dict[str, Any]) -> Command:
        said = {"uid": UID, "nsp": NAMESPACE, "type": BROADCAST, "data": _broadcast(room_id, event, data)}
        return "SPUBLISH", channels.to_all, as_json(said)

    return copy


def streams(name: str) -> Format:
    """Say it to servers with @socket.io/redis-streams-adapter that have one stream, ``name``."""

    def copy(room_id: Id, event: str, data: dict[str, Any]) -> Command:
        head = ("XADD", name, "MAXLEN", "~", STREAM_LENGTH, "*", "uid", UID, "nsp", NAMESPACE)
        return *head, "type", BROADCAST, "data", as_json(_broadcast(room_id, event, data))

    return copy


def python(channel: str) -> Format:
    """Say it to python-socketio servers with a Redis manager of this ``channel``."""

    def copy(room_id: Id, event: str, data: dict[str, Any]) -> Command:
        said = {
            "method": "emit",
            "event": event,
            "data": [data],
            "binary": False,
            "namespace": NAMESPACE,
            "room": room_id,
            "skip_sid": None,
            "callback": None,
            "host_id": UID,
        }
        return "PUBLISH", channel, as_json(said)

    return copy


def _broadcast(room_id: Id, event: str, data: dict[str, Any]) -> dict[str, Any]:
    packet = {"type": EVENT, "data": [event, data], "nsp": NAMESPACE}
    return {"packet": packet, "opts": {"rooms": [room_id], "except": [], "flags": {}}}


class Copies:
    """Makes the copies while ``wanted`` says so; ``names`` renames events as the devices know them.

    What cannot be said is left out and given to ``fault``.
    """

    def __init__(
        self,
        formats: Sequence[tuple[Format, Callable[[], bool]]],
        *,
        names: Mapping[str, str],
        fault: Callable[[BaseException], None],
    ) -> None:
        self._formats = formats
        self._names = names
        self._fault = fault

    def of(self, messages: Sequence[Message]) -> Sequence[Command]:
        """Return what is to be published of ``messages``; see `Outbound.of`."""
        wanted = [make for make, is_wanted in self._formats if is_wanted()]
        return list(self._made(messages, wanted)) if wanted else ()

    def _made(self, messages: Sequence[Message], wanted: Sequence[Format]) -> Iterator[Command]:
        for message in messages:
            name = event_name(message)
            event, data = self._names.get(name, name), payload(message)
            for make in wanted:
                try:
                    yield make(message.room_id, event, data)
                except ClusterMalformed as error:
                    self._fault(error)
