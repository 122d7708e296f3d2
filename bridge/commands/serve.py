"""``serve``: run one bridge process until SIGTERM or SIGINT."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from bridge.app import App
from bridge.commands.collector import spared
from bridge.profiles import Profile
from bridge.settings import Settings, without_credentials
from bridge.telemetry import configure_logs

T = TypeVar("T")


async def run(settings: Settings, profile: Profile, place: Path | None = None) -> int:
    """Serve until told to stop; running turns get the drain time. Returns the exit status.

    With a ``place`` it is one of several, and stops when their parent is gone.
    """
    configure_logs(**({} if place is None else {"process": int(place.name)}))
    stop = stop_signal()
    if place is not None:
        _stop_with_parent(stop)
    app = App(settings, profile, place)
    address = await app.start()
    async with spared(lambda: not app.relay.running and app.rooms.still):
        app.telemetry.said(
            "listening",
            address=address,
            backend=without_credentials(settings.backend_url),
            profile=settings.backend_profile,
            dialect=settings.dialect,
            auth=settings.auth or "none",
            streaming=str((await app.flag.state()).rollout),
            drop_in=app.drop_in_address,
            admin=app.admin_address,
        )
        await stop.wait()
    app.telemetry.said("draining", running=app.relay.running, drain_s=settings.drain_s)
    await app.stop()
    app.telemetry.said("stopped")
    return 0


async def until_stopped(work: Coroutine[Any, Any, T]) -> T | None:
    """Return what ``work`` gives, None once a signal says stop: it is cancelled, and comes to its own end.

    A second signal does not hurry it.
    """
    running, stop = asyncio.create_task(work), stop_signal()
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, told):
        task.cancel()
    await asyncio.gather(running, told, return_exceptions=True)
    return None if running.cancelled() else running.result()


def _stop_with_parent(stop: asyncio.Event) -> None:
    """Set ``stop`` once stdin ends: the parent that has its other end is gone, however that came."""
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def ended() -> None:
        loop.remove_reader(stdin)
        stop.set()

    loop.add_reader(stdin, ended)


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM, SIGINT or a terminal that is closed (SIGHUP) sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: it is to outlive its terminal
        asked.append(signal.SIGHUP)
    for each in asked:
        loop.add_signal_handler(each, stop.set)
    return stop
