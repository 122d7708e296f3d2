"""A redis-server of a test's own: on a free loopback port, with its data in a folder, ended by its pid."""

import contextlib
import shutil
import socket
import subprocess
import time


class RedisServer:
    """Starts at once; ``kill`` and ``start`` may follow each other, the data stays (AOF)."""

    def __init__(self, folder):
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process = None

    def start(self):
        """Start, and return once it answers."""
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        keep = [
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--enable-debug-command",
            "local",
        ]
        program = shutil.which("redis-server")
        self._process = subprocess.Popen([program, *where, *keep], stdout=subprocess.DEVNULL)
        for _ in range(200):
            with contextlib.suppress(OSError):
                if self.command("PING").startswith(b"+PONG"):
                    return
            time.sleep(0.02)
        raise TimeoutError("redis-server did not answer")

    def kill(self):
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def command(self, *words):
        """Send one command; return the first bytes of the answer."""
        parts = [word.encode() for word in words]
        packed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.sendall(b"*%d\r\n%s" % (len(parts), packed))
            return connection.recv(65536)


@contextlib.contextmanager
def redis_server(folder):
    """Give a running server."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
