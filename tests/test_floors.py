"""The oldest versions that may be installed, each with the fault that the one before it has."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "python-socketio": "5.16.4",  # attachments of a binary packet pile up, also behind a disconnect
    "python-engineio": "4.15.1",  # heartbeat tasks of closed connections; sockets/engine.py knows its driver
    "aiohttp": "3.14.3",  # requests smuggled behind a websocket's upgrade; its C parser reads beyond its heap
    "h11": "0.16.0",  # a chunked body read otherwise than by proxies in front
    "httpx-sse": "0.4.3",  # U+2028 in a text splits its frame
    "redis": "8.1.0",  # a listening connection ends every 5 s
    "pyjwt": "2.15.1",  # the oldest tried here; 2.10.0 takes a part of an issuer for the whole
    "cryptography": "50.0.0",  # the oldest tried here; its wheels carry their OpenSSL
}
_NAME = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(.*)")


def version(text):
    return tuple(int(part) for part in text.split(".")[:3])


def declared():
    """Return the lower bounds of pyproject.toml, by the name of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = {}
    for line in project["dependencies"]:
        name, bounds = _NAME.fullmatch(line.partition(";")[0].strip()).groups()
        found[name.lower()] = re.search(r">=([0-9.]+)", bounds)[1]
    return found


def pinned():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.partition(" ;")[0].lower().split("==") for line in lines if line)


def below(versions):
    return {
        name
        for name, floor in FLOORS.items()
        if name in versions and version(versions[name]) < version(floor)
    }


def test_what_is_declared_is_not_below_its_floor():
    assert set(FLOORS) <= set(declared())
    assert not below(declared())


def test_what_is_pinned_is_not_below_its_floor():
    assert set(FLOORS) <= set(pinned())
    assert not below(pinned())


def test_what_is_installed_is_not_below_its_floor():
    assert not below({name: metadata.version(name) for name in FLOORS})


@pytest.mark.parametrize("name", FLOORS)
def test_a_version_below_its_floor_is_found(name):
    *front, _ = FLOORS[name].split(".")
    assert below({name: ".".join([str(int(front[0]) - 1), *front[1:], "0"])}) == {name}
