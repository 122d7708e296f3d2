"""The composition root: the only place where things are built and joined."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from aiohttp import web

from bridge import asyncapi, openapi, operators, other_servers
from bridge.addresses import is_loopback
from bridge.answers import Answers
from bridge.backend import HttpBackend
from bridge.border import Border, in_production
from bridge.changes import Change
from bridge.connections import Connections
from bridge.dialects import DIALECTS
from bridge.doors import drop_in, health, page
from bridge.doors.drop_in import DropIn
from bridge.doors.namespace import BridgeNamespace
from bridge.errors import SettingsError
from bridge.exchange import Says
from bridge.facts import Happening
from bridge.guardroom import Guardroom
from bridge.http_doors import HttpDoors
from bridge.listening import Listening
from bridge.metrics import Metrics
from bridge.node import Node
from bridge.profiles import Profile
from bridge.proxy import Proxy
from bridge.pump import Limits
from bridge.readiness import Readiness
from bridge.relay import Relay
from bridge.rooms import Rooms
from bridge.settings import Settings
from bridge.shared import Shared
from bridge.siblings import Siblings
from bridge.sockets import engine
from bridge.sockets.admin_ui import AdminUi
from bridge.sockets.confirmations import Confirmations
from bridge.sockets.crowd import Crowd, JoinedRooms
from bridge.sockets.intake import Intake
from bridge.sockets.manager import ClientManager
from bridge.sockets.server import Server
from bridge.telemetry import LogTelemetry, SystemClock
from bridge.tracing import UNTRACED, Tracing
from bridge.witnesses import Witnesses

INBOUND_LIMIT_BYTES = 2 * 1024 * 1024
"""A packet below this is answered with an error code if it is too large; above it the connection ends."""

SILENT_S = 5.0
"""How much longer than a backend may be silent an owner may be before other nodes look after its turn."""
SENT_AWAY_PER_S = 500
"""So many devices a second are sent to other nodes, where that does not take longer than the drain."""
CLOSE_S = 0.3
"""How long the devices get to read their last messages when the process goes down."""


class App:
    """One bridge process: built from ``settings`` in front of the backend of ``profile``, started once.

    ``place`` is that of one among several that share the port; see `Siblings`.
    """

    def __init__(self, settings: Settings, profile: Profile, place: Path | None = None) -> None:
        clock = SystemClock()
        self._settings = settings
        self.telemetry = LogTelemetry()
        self.metrics = Metrics()
        self.guard = Guardroom(settings, self.telemetry, clock)
        self._facts = Witnesses(self.telemetry, self.metrics, self.guard.gathered)
        self.shared = Shared(settings, self._facts, clock, self._flag_changed)
        self.flag = self.shared.flag
        self.rooms = Rooms(self.shared.journal, self.shared.inbox)
        self._border = Border(settings, profile, self._facts, clock)
        self._manager = ClientManager(
            self.shared.inbox,
            self._facts,
            clock.monotonic_s,
            neighbours=self.shared.copies,
            guests=JoinedRooms(self.rooms),
            removed=self._border.admission.remove,
        )
        self._connections = Connections(self.rooms, self._facts, backlog=settings.device_backlog)
        self._confirmations = Confirmations(
            self._manager.expect_ack,
            self._facts,
            self.metrics.confirmed,
            now=clock.monotonic_s,
            chance=clock.jitter,
            share=settings.confirm_percent / 100,
            within_s=settings.confirm_s,
        )
        self.everywhere = other_servers.everywhere(settings, self.shared, self._manager)
        """All servers that share the Redis as one, None where none can: without Redis, or `node_adapter`."""
        self._profile = profile
        self._dialect = dialect(settings)
        self._clock = clock
        self._listening = Listening(
            settings.host, header_s=settings.header_s, refused=partial(self._facts.refused, "request")
        )
        self.admin_address: str | None = None
        """Where operators find their doors, None where devices connect."""
        self.drop_in_address: str | None = None
        """Where a chat-server finds the bridge in its backend's place, None where it does not."""
        self._tracing = _tracing(settings, self._facts.fault)
        self._siblings = Siblings(place, self._facts.fault) if place else None
        self._handed: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen, and return the address of the server. Raises `ListenError`."""
        settings = self._settings
        await self.shared.enter()
        self._backend = HttpBackend(
            settings.backend_url,
            self._profile,
            self._dialect,
            self._stream_ended,
            connect_s=settings.connect_s,
            jitter=self._clock.jitter,
            fast=settings.fast_path,
        )
        if why := self._backend.misfit:
            self.telemetry.said("answers are read in httpx' own way", why=why)
        self.relay = self._relay()
        self.sio = self._server()
        self._member = self._place()
        self._show()
        self.metrics.flag_is((await self.flag.state()).rollout)
        self.guard.start(self.shared, self._facts)
        self._confirmer = asyncio.create_task(self._confirmations.run(), name="confirmations")
        self._node = asyncio.create_task(self._member.run(), name="node")
        self._neighbours = self._other_servers()
        self._admin_ui = self._shown_to_admins()
        self._sweeper = asyncio.create_task(self._border.admission.run(), name="admission")
        self._proxy = Proxy(
            settings.backend_url,
            name=self._clock.new_id(),
            connect_s=settings.connect_s,
            silence_s=settings.proxy_silence_s,
        )
        shared = self._siblings is not None
        site = await self._listening.open(self._web(), settings.port, shared=shared)
        if settings.admin_port:
            apart = web.Application()
            apart.add_routes([*self._health(), *self._operators()])
            self.admin_address = (await self._listening.open(apart, settings.admin_port)).address
        if opens_drop_in(settings) and settings.drop_in_port:
            beside = web.Application()
            beside.add_routes(self._drop_in(alone=True).routes())
            other = await self._listening.open(beside, settings.drop_in_port, shared=shared)
            self.drop_in_address = other.address
        elif opens_drop_in(settings):
            self.drop_in_address = site.address
        self._handed = asyncio.create_task(self._siblings.run(site.adopt)) if self._siblings else None
        return site.address

    async def stop(self) -> None:
        """Refuse turns, let the running ones end, send devices away, close all; also if it never listened."""
        await self.relay.drain(self._settings.drain_s)
        devices = len(self.sio.eio.sockets) + len(self._connections)
        spread_s = min(devices / SENT_AWAY_PER_S, self._settings.drain_s)
        await asyncio.gather(
            engine.disconnect_all(self.sio.eio, flush_s=CLOSE_S, spread_s=spread_s),
            self._connections.end_all(flush_s=CLOSE_S, spread_s=spread_s),
        )
        own = (self._handed, self._node, self._neighbours, self._admin_ui, self._sweeper, self._confirmer)
        for task in (tasks := [each for each in own if each is not None]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._manager.close()
        await self.sio.shutdown()
        await self.sio.close()
        await self._namespace.close()
        await self._listening.close()
        await self._proxy.close()
        await self._backend.close()
        await self._border.close()
        await self._tracing.close()
        await self.guard.close()
        await self.shared.close()

    async def discard(self) -> None:
        """Close what a process holds that was built, to see whether it can be, and never started."""
        await self._tracing.close()
        await self._border.close()
        await self.shared.close()

    def _other_servers(self) -> asyncio.Task[None] | None:
        settings = self._settings
        crowd = Crowd(self.sio, self._namespace.devices, self.rooms, new_message=settings.new_message_event)
        door = other_servers.door(
            settings, self.shared, crowd, manager=self._manager, facts=self._facts, asks=self.everywhere
        )
        return None if door is None else asyncio.create_task(door.run(), name="other servers")

    def _shown_to_admins(self) -> asyncio.Task[None] | None:
        settings = self._settings
        if not settings.admin_ui:
            return None
        shown = AdminUi(
            self.sio,
            self._facts,
            user=settings.admin_ui_user,
            password=settings.admin_ui_password,
            server_id=self._clock.new_id(),
        )
        return asyncio.create_task(shown.run(), name="admin UI")

    def _flag_changed(self, change: Change) -> None:
        self.telemetry.flag_changed(change)
        self.metrics.flag_is(change.rollout)
        self.metrics.happened(Happening.FLAG_CHANGED)

    def _stream_ended(self, dialect: str, malformed: int) -> None:
        self.telemetry.stream_ended(dialect, malformed)
        self.metrics.happened(Happening.FRAME_SKIPPED, malformed)

    def _show(self) -> None:
        """Let the figures be read from where they are."""
        self.metrics.read(
            {
                "bridge_turns_running": lambda: self.relay.running,
                "bridge_devices": lambda: self.rooms.devices,
                "bridge_draining": lambda: self.relay.draining,
                "bridge_store_up": lambda: self._member.alive,
                "bridge_guard_state": lambda: self.guard.standing,
                "bridge_inbox_lag_seconds": lambda: self.shared.inbox_lag_s,
            }
        )

    def _relay(self) -> Relay:
        settings = self._settings
        limits = Limits(
            first_delta_s=settings.first_delta_s,
            stall_s=settings.stall_s,
            turn_s=settings.turn_s,
            turns_per_room=settings.turns_per_room,
            turns_per_user=settings.turns_per_user,
            turns_per_node=settings.turns_per_node,
            answer_bytes=settings.max_answer_bytes,
            show_reasoning=settings.show_reasoning,
        )
        return Relay(
            backend=self._backend,
            journal=self.shared.journal,
            rooms=self.rooms,
            flag=self.flag,
            telemetry=self._facts,
            clock=self._clock,
            limits=limits,
            tracing=self._tracing,
        )

    def _place(self) -> Node:
        return Node(
            journal=self.shared.journal,
            inbox=self.shared.inbox,
            relay=self.relay,
            rooms=self.rooms,
            sockets=self._manager,
            telemetry=self._facts,
            clock=self._clock,
            lease_s=self._settings.lease_s,
            silent_s=max(self._settings.first_delta_s, self._settings.stall_s) + SILENT_S,
        )

    def _server(self) -> Server:
        settings = self._settings
        quiet = logging.getLogger("bridge.sockets")  # the libraries' own lines may hold payloads
        quiet.setLevel(logging.CRITICAL)
        admission, address = self._border.admission, self._border.address
        sio = Server(
            handshake_s=settings.handshake_s,
            arrived=lambda environ: admission.arrive(address(environ["aiohttp.request"])),
            departed=lambda environ: admission.depart(address(environ["aiohttp.request"])),
            telemetry=self._facts,
            client_manager=self._manager,
            async_mode="aiohttp",
            async_handlers=False,  # a device's events are taken in the order it sent them
            cors_allowed_origins=self._border.allows_origin,
            ping_interval=settings.ping_interval_s,
            ping_timeout=settings.ping_timeout_s,
            max_http_buffer_size=INBOUND_LIMIT_BYTES,
            logger=quiet,
            engineio_logger=quiet,
        )
        self._open_doors()
        intake = Intake(
            sio.eio,
            address=address,
            check_address=admission.check_address,
            allows=self._border.allows,
            opened_by=sio.opened_by,
            is_of=self._namespace.is_of,
            cut_off=sio.cut_off,
            body_s=settings.body_s,
            siblings=self._siblings,
        )
        if why := engine.install(sio.eio, intake, fast=settings.fast_path):
            self.telemetry.said("websockets are served by python-engineio's own queue", why=why)
        sio.register_namespace(self._namespace)
        return sio

    def _open_doors(self) -> None:
        settings = self._settings
        self._doors = HttpDoors(
            settings,
            relay=self.relay,
            rooms=self.rooms,
            flag=self.flag,
            telemetry=self._facts,
            clock=self._clock,
            connections=self._connections,
            border=self._border,
        )
        self._namespace = BridgeNamespace(
            admission=self._border.admission,
            acks=self._doors.acks,
            rooms=self.rooms,
            telemetry=self._facts,
            confirmations=self._confirmations,
            new_message=settings.new_message_event,
            backlog=settings.device_backlog,
            stuck_s=settings.device_stuck_s,
        )

    def _web(self) -> web.Application:
        settings = self._settings
        app = web.Application()
        self.sio.attach(app)
        app.add_routes(self._health())
        if not settings.admin_port:
            app.add_routes(self._operators())
        if settings.demo:
            app.add_routes(page.routes({"openapi": openapi.document(), "asyncapi": asyncapi.document()}))
        shares = opens_drop_in(settings) and not settings.drop_in_port
        app.add_routes(self._doors.routes(self._profile.paths if shares else ()))
        app.add_routes(self._drop_in(alone=False).routes() if shares else drop_in.closed(self._profile))
        return app

    def _health(self) -> list[web.RouteDef]:
        path = self._settings.ready_backend_path
        asked = partial(self._backend.answers, path) if path else None
        return health.routes(Readiness(self.relay, self._member, self._clock, asked))

    def _operators(self) -> Iterator[web.RouteDef]:
        return operators.routes(
            self._settings,
            switch=self.flag,
            metrics=self.metrics,
            pull=self.guard.pull,
            remove=self._manager.remove_member,
            one_of_several=self._siblings is not None,
        )

    def _drop_in(self, *, alone: bool) -> DropIn:
        settings = self._settings
        wait_s = 2 * settings.turn_s + settings.lease_s + 10.0  # a turn may be taken over at its very end
        return DropIn(
            relay=self.relay,
            rooms=self.rooms,
            flag=self.flag,
            clock=self._clock,
            answers=Answers(self._backend, self._proxy, self._profile, wait_s=wait_s),
            proxy=self._proxy,
            profile=self._profile,
            passed_on=self.telemetry.passed_on,
            content_limit_bytes=settings.max_content_bytes,
            alone=alone,
        )


def _tracing(settings: Settings, failed: Callable[[BaseException], None]) -> Tracing:
    if not settings.otel:
        return UNTRACED
    try:
        from bridge.opentelemetry import OpenTelemetry, exported  # noqa: PLC0415  (an extra)
    except ImportError as exc:
        why = "the extra is missing: pip install 'chat-stream-bridge[otel]'"
        raise SettingsError(f"unable to use BRIDGE_OTEL; {why}") from exc
    return OpenTelemetry(exported(failed), profile=settings.backend_profile, backend_url=settings.backend_url)


def dialect(settings: Settings) -> Says:
    """Return what makes decoders for the backend's streams. Raises `SettingsError`."""
    says = DIALECTS.get(settings.dialect)
    if says is None:
        known = ", ".join(DIALECTS)
        raise SettingsError(f"unable to use BRIDGE_DIALECT={settings.dialect!r}; it must be one of {known}")
    return says


def opens_drop_in(settings: Settings) -> bool:
    """Return whether a chat-server finds the drop-in, where devices connect or at ``drop_in_port``."""
    if settings.drop_in == "auto" and not settings.drop_in_port:
        return is_loopback(settings.host) and not in_production(settings)
    return settings.drop_in != "off"
