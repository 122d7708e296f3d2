"""``serve --processes``: bridge processes on one port, each a node, and the parent that keeps them there."""

import asyncio
import sys
import tempfile
from dataclasses import dataclass, field, replace
from os import environ
from pathlib import Path

from bridge.app import App
from bridge.commands.children import ChildError, child
from bridge.commands.serve import stop_signal
from bridge.errors import SettingsError
from bridge.http_server import reserved
from bridge.profiles import Profile
from bridge.settings import Settings, environment
from bridge.telemetry import LogTelemetry, configure_logs

PAUSE_S = (0.2, 10.0)
"""The first and the longest pause before a process that ended is started again; it doubles each time."""
STEADY_S = 30.0
"""One that lived for so long is started again as if it had never ended before."""
END_S = 5.0
"""How much longer than twice its drain a process may take to end; see `App.stop`."""


async def run(settings: Settings, profile: Profile) -> int:
    """Keep ``settings.processes`` running until told to stop; return the worst of their exit statuses.

    Raises `SettingsError`, `ListenError`, and `ChildError` where one does not even start.
    """
    configure_logs()
    if sys.platform != "linux":
        why = "this system does not spread connections over processes; give each its port, behind nginx"
        raise SettingsError(f"unable to use BRIDGE_PROCESSES={settings.processes}; {why}")
    stop = stop_signal()
    await App(settings, profile).discard()  # what they would refuse is said once
    with (
        reserved(settings.host, settings.port) as port,
        tempfile.TemporaryDirectory(prefix="bridge-") as folder,
    ):
        parent = _Parent(replace(settings, port=port), Path(folder))
        return await parent.run(stop)


@dataclass(slots=True)
class _Parent:
    settings: Settings
    folder: Path
    telemetry: LogTelemetry = field(default_factory=LogTelemetry)
    statuses: list[int] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> int:
        ready = [asyncio.Event() for _ in range(self.settings.processes)]
        kept = [asyncio.create_task(self._keep(number, each)) for number, each in enumerate(ready)]
        told, said = asyncio.create_task(stop.wait()), asyncio.create_task(self._say(ready))
        try:  # one ends by itself only if it could not start
            await asyncio.wait({told, *kept}, return_when=asyncio.FIRST_COMPLETED)
            self.telemetry.said("stopping", processes=len(kept))
        finally:
            for task in (told, said, *kept):
                task.cancel()
            ended = await asyncio.gather(*kept, return_exceptions=True)
        for why in ended:
            if isinstance(why, ChildError):
                raise why
        self.telemetry.said("stopped", statuses=self.statuses)
        return max(self.statuses, default=0)

    async def _say(self, ready: list[asyncio.Event]) -> None:
        for each in ready:
            await each.wait()
        self.telemetry.said("listening", address=self.settings.address, processes=len(ready))

    async def _keep(self, number: int, ready: asyncio.Event) -> None:
        """Run the process of a number, again whenever it ends; raises `ChildError` when it never began."""
        loop, pause_s = asyncio.get_running_loop(), PAUSE_S[0]
        while True:
            began_s = loop.time()
            fate = await self._live(number, ready)
            if loop.time() - began_s > STEADY_S:
                pause_s = PAUSE_S[0]
            self.telemetry.said("process ended", process=number, fate=fate, again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S[1])

    async def _live(self, number: int, ready: asyncio.Event) -> str:
        """Run it once, to its end; return how that was."""
        place = self.folder / str(number)
        command = (sys.executable, "-m", "bridge", "serve", "--place", str(place))
        own = {**environ, **environment(self._settings_of(number))}
        within_s = 2 * self.settings.drain_s + END_S
        process = None
        try:
            async with child(f"process {number}", *command, environ=own, end_s=within_s) as process:
                if not ready.is_set():
                    await process.ready(lambda: _exists(place))
                    ready.set()
                return await process.fate()
        except asyncio.CancelledError:
            if process is not None:
                self.statuses.append(process.status)
            raise

    def _settings_of(self, number: int) -> Settings:
        port = self.settings.admin_port
        return replace(self.settings, processes=1, admin_port=port + number if port else 0)


async def _exists(place: Path) -> bool:
    return place.exists()  # noqa: ASYNC240  (a look at a folder of our own)
