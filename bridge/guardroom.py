"""Builds the guard from the settings and keeps it going; part of the composition root."""

import asyncio
import contextlib
from typing import Any

from bridge.figures import Gathered
from bridge.guard import GUARD, Limits
from bridge.ports import Clock, Tally, Telemetry
from bridge.settings import Settings
from bridge.shared import Shared
from bridge.stores.memory import MemoryTally
from bridge.stores.redis_tally import RedisTally
from bridge.telemetry import LogTelemetry
from bridge.watch import Told, Watch
from bridge.webhook import Payload, Webhook


class Guardroom:
    """The guard of one process, and what it reads: ``gathered`` is to hear every fact.

    It pulls no flag that a provider decides; there, as in a dry run, it says what it would do.
    """

    def __init__(self, settings: Settings, log: LogTelemetry, clock: Clock) -> None:
        self.gathered = Gathered(clock.monotonic_s)
        self.watch: Watch | None = None
        self._settings = settings
        self._log = log
        self._clock = clock
        self._name = clock.new_id()[:8]
        self._webhook: Webhook | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def standing(self) -> int:
        """Where the guard is, as the figure that shows it."""
        return 0 if self.watch is None else self.watch.standing.value

    def start(self, shared: Shared, facts: Telemetry) -> None:
        """Watch from now on, unless the settings say not to."""
        settings = self._settings
        if settings.guard == "off":
            return
        if settings.guard_webhook:
            self._webhook = Webhook(settings.guard_webhook, facts)
        self.watch = Watch(
            flag=shared.flag,
            tally=self._tally(shared),
            gathered=self.gathered,
            limits=_limits(settings),
            window_s=settings.guard_window_s,
            pulls=settings.guard == "on" and not settings.flag_provider,
            tell=self._tell,
            telemetry=facts,
            clock=self._clock,
            name=self._name,
        )
        self._task = asyncio.create_task(self._run(self.watch), name="guard")

    async def pull(self, why: str) -> bool:
        """Turn streaming off for somebody else's reason; see `Watch.pull`. No guard, no pull."""
        return self.watch is not None and await self.watch.pull(why)

    async def close(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, watch: Watch) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.run(), name="watch")
            if self._webhook is not None:
                group.create_task(self._webhook.run(), name="webhook")

    def _tally(self, shared: Shared) -> Tally:
        window_s = self._settings.guard_window_s
        if shared.client is None:
            return MemoryTally(self._clock.monotonic_s, window_s=window_s)
        return RedisTally(shared.client, self._name, window_s=window_s, prefix=self._settings.redis_prefix)

    def _tell(self, told: Told) -> None:
        self._log.guard_moved(told.move.kind.value, told.move.why, made=told.made)
        if self._webhook is not None and told.made:
            self._webhook.tell(_payload(told))


def _limits(settings: Settings) -> Limits:
    return Limits(
        errors=settings.guard_errors_percent / 100,
        first_text_s=settings.guard_first_text_s,
        completion_s=settings.guard_completion_s,
        integrity=settings.guard_integrity_percent / 100,
        unconfirmed=settings.guard_unconfirmed_percent / 100,
        sample=settings.guard_sample,
        half_open=settings.guard_half_open_percent,
        rest_s=settings.guard_rest_s,
    )


def _payload(told: Told) -> Payload:
    """Return the change as the history has it, and one line of text for chats that show just that."""
    change: dict[str, Any] = told.state.history[0].wire()
    before = told.state.history[0].before
    text = f"{GUARD}: streaming {before} -> {told.state.rollout}; {told.move.why}"
    return {"text": text, "kind": told.move.kind.value, **change}
