"""A PostgreSQL server of a test's own: a fresh cluster in a folder, on a free loopback port."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.held_ports import held_port

USER = "postgres"
STARTS_S = 60.0


def binaries():
    """Return the folder of PostgreSQL's programs, None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    there = found[-1] if found else shutil.which("initdb")
    return Path(there).parent if there else None


@contextlib.contextmanager
def postgres():
    """Start a server; gives the URL of its database."""
    programs = binaries()
    as_user = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="bridge-pg-") as folder:
        if as_user:
            os.chown(folder, pwd.getpwnam(USER).pw_uid, -1)  # it refuses to run as root
        data = Path(folder) / "data"
        make = [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*make, "--locale=C"], check=True, capture_output=True, cwd=folder, **as_user)
        with held_port() as port:
            where = ["-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
            command = [programs / "postgres", *where, "-c", "fsync=off"]
            server = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, **as_user)
            try:
                _wait(port)
                yield f"postgresql+asyncpg://{USER}@127.0.0.1:{port}/postgres"
            finally:
                server.terminate()
                server.wait(60)


def _wait(port):
    late_s = time.monotonic() + STARTS_S
    while time.monotonic() < late_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return
        time.sleep(0.05)
    raise TimeoutError("PostgreSQL did not listen")
