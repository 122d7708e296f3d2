"""The reference backend as a process of its own, for the commands that bring all they need."""

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

from bridge.commands.children import Child, child, free_ports, succeeds

LEISURELY = {"BACKEND_STUB_TOKENS": "180", "BACKEND_STUB_TOKENS_PER_S": "30"}
"""A pace at which a person can do something while an answer grows."""


@contextlib.asynccontextmanager
async def running(
    log: Path | None = None, usual: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Child, str]]:
    """Run it with a fresh database; yield it and its address. Raises `ChildError`.

    With a ``log`` it prints nothing; see `child`. ``usual`` holds for what the environment does not say.
    """
    (port,) = free_ports("127.0.0.1", 0, 1)
    # it needs no key, and spends none that happens to be there
    own = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    with tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder:
        environ = {
            **(usual or {}),
            **own,
            "PORT": str(port),
            "HOST": "127.0.0.1",
            "BACKEND_STUB_DATABASE_URL": f"sqlite+aiosqlite:///{Path(folder) / 'history.sqlite3'}",
        }
        url = f"http://127.0.0.1:{port}"
        command = (sys.executable, "-m", "backend_stub")
        async with child("the backend", *command, environ=environ, quiet=log is not None, log=log) as process:
            await process.ready(partial(succeeds, f"{url}/healthz"))
            yield process, url
