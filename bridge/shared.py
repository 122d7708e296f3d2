"""What this node shares with others: the store, the flag, and the copies for servers that are no bridges."""

import hashlib
from collections.abc import Callable

from bridge.changes import Change
from bridge.copies import Audience, Copies, Format, classic, python, sharded, streams
from bridge.errors import SettingsError, StoreUnavailable
from bridge.node_cluster import UID, Channels
from bridge.ports import Clock, Inbox, Journal, LiveFlag, Telemetry
from bridge.redis_client import RedisClient
from bridge.rollout import Rollout, default_rollout
from bridge.settings import Settings
from bridge.stores.memory import MemoryFlag, MemoryInbox, MemoryJournal
from bridge.stores.redis import RedisStore
from bridge.stores.redis_flag import RedisFlag


class Shared:
    """Built from ``settings``; in Redis where they name one, else in this process, which then is alone."""

    def __init__(
        self, settings: Settings, facts: Telemetry, clock: Clock, changed: Callable[[Change], None]
    ) -> None:
        self.client = RedisClient(settings.redis_url) if settings.redis_url else None
        self.audience = Audience(there=settings.node_adapter == "on")
        self.channels = Channels(settings.node_adapter_key)
        node_id = clock.new_id()
        self.uid = f"{UID}-{node_id}"
        """The name of this node among other servers."""
        self.copies = self._copies(settings, facts)
        self.store: RedisStore | None = None
        if self.client is not None:
            self.store = _store(settings, self.client, node_id, self.copies)
        self.journal: Journal = self.store or MemoryJournal(
            clock.monotonic_s, window_s=settings.resume_window_s
        )
        self.inbox: Inbox = self.store or MemoryInbox()
        self.flag = _flag(settings, self.client, facts, clock, changed)
        self._facts = facts

    async def enter(self) -> None:
        """Be one of the nodes; where the store does not answer, go on trying."""
        for learn in (self._enter, self.flag.start):
            try:
                await learn()
            except StoreUnavailable as error:  # it may be back before a device needs it
                self._facts.fault(error)

    async def close(self) -> None:
        """Send what waits, for a short time, and close the connections."""
        await self.flag.close()
        if self.store is not None:
            await self.store.close()

    @property
    def inbox_lag_s(self) -> float:
        """How long the letters read last had waited."""
        return 0.0 if self.store is None else self.store.inbox_lag_s

    async def _enter(self) -> None:
        if self.store is not None:
            await self.store.start()
            await self.inbox.beat()  # what is emitted from now on reaches this node's devices

    def _copies(self, settings: Settings, facts: Telemetry) -> Copies:
        formats: list[tuple[Format, Callable[[], bool]]] = []
        match settings.node_adapter:
            case "auto" | "on":
                formats.append((classic(self.channels), lambda: self.audience.there))
            case "sharded":
                formats.append((sharded(self.channels), lambda: True))
            case "streams":
                formats.append((streams(settings.node_adapter_key), lambda: True))
        if settings.python_channel:
            formats.append((python(settings.python_channel), lambda: True))
        names = {"new_message": settings.new_message_event}
        return Copies(formats, uid=self.uid, names=names, fault=facts.fault)


def _flag(
    settings: Settings,
    client: RedisClient | None,
    facts: Telemetry,
    clock: Clock,
    changed: Callable[[Change], None],
) -> LiveFlag:
    default = default_rollout(enabled=settings.chat_streaming_enabled)
    if settings.flag_provider:
        return _openfeature(settings.flag_provider, default, facts.fault)
    if client is not None:
        return RedisFlag(client, default, changed, prefix=settings.redis_prefix)
    return MemoryFlag(default, clock.utc, changed)


def _openfeature(named: str, default: Rollout, failed: Callable[[BaseException], None]) -> LiveFlag:
    try:
        from bridge.openfeature import OpenFeatureFlag, provider_named  # noqa: PLC0415  (an extra)
    except ImportError as exc:
        why = "the extra is missing: pip install 'chat-stream-bridge[openfeature]'"
        raise SettingsError(f"unable to use BRIDGE_FLAG_PROVIDER; {why}") from exc
    return OpenFeatureFlag(provider_named(named), default, failed)


def _store(settings: Settings, client: RedisClient, node_id: str, copies: Copies) -> RedisStore:
    return RedisStore(
        client,
        node_id,
        outbound=copies,
        lease_s=settings.lease_s,
        turn_s=settings.turn_s + 60.0,
        window_s=settings.resume_window_s,
        prefix=settings.redis_prefix,
        backend=hashlib.sha256(settings.backend_url.encode()).hexdigest()[:12],
    )
