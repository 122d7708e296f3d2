"""The doors beside Socket.IO, built and joined: a part of the composition root."""

import re
from collections.abc import Iterable, Iterator

from aiohttp import web

from bridge.acks import Acks, EventNames
from bridge.border import Border
from bridge.connections import Connections
from bridge.doors.ask import AskDoor
from bridge.doors.sse import SseDoor
from bridge.doors.ui_stream import UiStreamDoor
from bridge.doors.websocket import WebSocketDoor
from bridge.gate import Gate
from bridge.http_wire import CrossSite
from bridge.own_turn import OwnTurns
from bridge.ports import Clock, Flag, Telemetry
from bridge.relay import Relay
from bridge.rooms import Rooms
from bridge.settings import Settings

LATE_S = 10.0
"""How much longer than its deadline a turn may take that moves from node to node."""


class HttpDoors:
    """Plain WebSocket, EventSource, one question over HTTP, the AI SDK: all over what is given."""

    def __init__(
        self,
        settings: Settings,
        *,
        relay: Relay,
        rooms: Rooms,
        flag: Flag,
        telemetry: Telemetry,
        clock: Clock,
        connections: Connections,
        border: Border,
    ) -> None:
        names = EventNames(
            settings.join_event, settings.leave_event, settings.send_event, settings.new_message_event
        )
        self.acks = Acks(
            relay=relay,
            rooms=rooms,
            telemetry=telemetry,
            names=names,
            content_limit_bytes=settings.max_content_bytes,
        )
        """What every door that takes events answers."""
        gate = Gate(border.admission, CrossSite(border.origins), border.address)
        limit_bytes, stuck_s = settings.max_content_bytes, settings.device_stuck_s
        turns = OwnTurns(
            relay=relay,
            rooms=rooms,
            connections=connections,
            new_id=clock.new_id,
            answer_s=settings.turn_s + LATE_S,
        )
        self._websocket = WebSocketDoor(
            acks=self.acks,
            connections=connections,
            gate=gate,
            new_message=names.new_message,
            handshake_s=settings.handshake_s,
            ping_interval_s=settings.ping_interval_s,
            ping_timeout_s=settings.ping_timeout_s,
            stuck_s=stuck_s,
        )
        self._sse = SseDoor(
            acks=self.acks,
            rooms=rooms,
            connections=connections,
            gate=gate,
            names=names,
            jitter=clock.jitter,
            stuck_s=stuck_s,
        )
        self._ask = AskDoor(
            turns=turns, flag=flag, gate=gate, content_limit_bytes=limit_bytes, stuck_s=stuck_s
        )
        self._ui = UiStreamDoor(
            turns=turns,
            relay=relay,
            gate=gate,
            new_id=clock.new_id,
            content_limit_bytes=limit_bytes,
            stuck_s=stuck_s,
        )

    def routes(self, taken: Iterable[str] = ()) -> Iterator[web.RouteDef]:
        """Return all routes but those of paths that are ``taken``, whatever their fields are called."""
        kept = set(map(_shape, taken))
        for door in (self._websocket, self._sse, self._ask, self._ui):
            yield from (route for route in door.routes() if _shape(route.path) not in kept)


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)
