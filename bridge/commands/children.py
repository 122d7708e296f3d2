"""The processes that a command starts: asked whether they are there, watched, ended with the command."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from bridge.errors import BridgeError

START_S = 60.0
END_S = 3.0
TRIED = 20
APART = range(20_000, 32_000)
"""Ports that no system gives to who asks it for any: what is free stays so until the child listens on it."""


class ChildError(BridgeError):
    """A process that the command needs did not start."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running process, and what people call it."""

    name: str
    process: asyncio.subprocess.Process

    @property
    def status(self) -> int:
        """The exit status, as a shell says it; 0 while it runs."""
        code = self.process.returncode or 0
        return code if code >= 0 else 128 - code

    async def fate(self) -> str:
        """Wait until it is gone; return how it ended, for people."""
        status = await self.process.wait()
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    async def ready(self, asked: Callable[[], Awaitable[bool]]) -> None:
        """Wait until ``asked`` says so. Raises `ChildError` when the process ends, or takes too long."""
        try:
            async with asyncio.timeout(START_S):
                while self.process.returncode is None:
                    if await asked():
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError as exc:
            raise ChildError(f"unable to start {self.name}; it took longer than {START_S:g} s") from exc
        raise ChildError(f"unable to start {self.name}; it {await self.fate()}")


@contextlib.asynccontextmanager
async def child(
    name: str,
    *command: str,
    environ: Mapping[str, str] | None = None,
    quiet: bool = False,
    log: Path | None = None,
    end_s: float = END_S,
) -> AsyncIterator[Child]:
    """Run a process as long as the block. ``quiet`` hides what it prints to stdout, ``log`` takes its stderr.

    It has a session of its own: a Ctrl-C of the terminal reaches the command only, which ends its
    children in order; one that takes longer than ``end_s`` is killed. Its stdin ends when the command does,
    however that may be.
    """
    with log.open("ab") if log else contextlib.nullcontext() as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL if quiet else None,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield Child(name, process)
    finally:
        await _end(process, end_s)


async def _end(process: asyncio.subprocess.Process, within_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), timeout=within_s)
    except TimeoutError:
        process.kill()
        await process.wait()


async def succeeds(url: str) -> bool:
    """Return whether a GET of ``url`` is answered with success."""
    async with httpx.AsyncClient(trust_env=False, timeout=1.0) as client:
        try:
            return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False


def free_ports(host: str, first: int, count: int, *, tried: int = TRIED) -> list[int]:
    """Return ``count`` ports that nobody listens on, from ``first`` on; 0: from one of this process's own.

    Raises `ChildError` when ``tried`` ports in a row hold too few.
    """
    first = first or APART.start + os.getpid() * TRIED % len(APART)
    found: list[int] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as held:  # until all are found, so that none is found twice
        for port in range(first, first + tried):
            with contextlib.suppress(OSError, OverflowError):
                probe = held.enter_context(socket.create_server((host, port), family=family))
                found.append(probe.getsockname()[1])
            if len(found) == count:
                return found
    raise ChildError(f"unable to find {count} free ports; {tried} from {first} on were tried")
