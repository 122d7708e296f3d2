"""What figures depend on: the machine, how busy it is, and the versions of what runs on it."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from bridge.commands import redis_server

LIBRARIES = ("python-socketio", "python-engineio", "aiohttp", "redis", "hiredis", "uvloop")


def told() -> dict[str, str]:
    """Return it as words."""
    return {
        "cores": str(os.cpu_count()),
        "cpu": _processor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "redis-server": _redis_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _redis_version() -> str:
    program, _ = redis_server.find()
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return said.partition("v=")[2].partition(" ")[0]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
