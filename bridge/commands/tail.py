"""``tail``: watch a room live in the terminal, as one more device."""

import argparse
import asyncio
import io
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from bridge.commands.device import Device
from bridge.commands.scroll import Scroll
from bridge.commands.serve import until_stopped
from bridge.commands.tokens import read_token, read_url
from bridge.errors import BridgeError, SettingsError
from bridge.events import Id, valid_id
from bridge.settings import Settings

Parser = argparse.ArgumentParser
TEACHES = """\
Watch a room live: what its users ask, and the answers as they grow. It joins as one more device, says
nothing, and after a cut comes back and goes on where it was. Ctrl-C ends it.

  python -m bridge tail demo                             on a terminal answers grow; one at a time
  python -m bridge tail 42 --number                      the room 42, which is not the room "42"
  python -m bridge tail demo | tee log                   one line for each complete message
  python -m bridge tail demo --json                      one JSON object for each complete message
  python -m bridge tail demo --url https://chat.example.org --token @FILE

exit status: 0 stopped, 1 no bridge there or not let in, 2 wrong usage
"""


def add_parser(verbs: "argparse._SubParsersAction[Parser]", file: Parser) -> None:
    """Add the verb; ``file`` is what every verb takes."""
    form = argparse.RawDescriptionHelpFormatter
    says = "watch a room live in the terminal"
    parser = verbs.add_parser("tail", parents=[file], help=says, description=TEACHES, formatter_class=form)
    parser.add_argument("room", metavar="ROOM")
    parser.add_argument("--number", action="store_true", help="ROOM is an integer (default: a text)")
    parser.add_argument("--url", default="", help="the bridge (default: that of HOST and PORT)")
    parser.add_argument("--token", default="", help="of a user of the room; @FILE is read")
    parser.add_argument("--json", action="store_true", help="print JSON lines (default: for people)")


class AccessEnded(BridgeError):
    """The bridge lets the device in no longer."""


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Watch until stopped; return the exit status. Raises `BridgeError`."""
    room_id = _room_id(arguments.room, number=arguments.number)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    scroll = Scroll(_write, live=sys.stdout.isatty() and not arguments.json, as_json=arguments.json)
    watch = _Watch(scroll)
    url = read_url(arguments.url) if arguments.url else settings.address
    token = read_token(arguments.token)
    device = Device(settings, room_id, watch.hear, token=token, lost=_tell_loss)
    await until_stopped(_follow(device, url, watch, arguments.room))
    return 0


@dataclass(slots=True)
class _Watch:
    scroll: Scroll
    over: asyncio.Event = field(default_factory=asyncio.Event)
    ended: str = ""

    def hear(self, name: str, data: dict[str, Any]) -> None:
        """Write what was heard; know when there will be no more."""
        if name == "access_ended":
            self.ended = str(data.get("code"))
            self.over.set()
            return
        try:
            self.scroll.hear(name, data)
        except BrokenPipeError:  # who reads has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.over.set()


async def _follow(device: Device, url: str, watch: _Watch, name: str) -> None:
    try:
        await device.join(url)
        _tell(f"watching {name} at {url}, Ctrl-C ends it")
        await watch.over.wait()
    finally:
        await device.leave()
    if watch.ended:
        raise AccessEnded(f"unable to watch {name} any longer; {watch.ended}")


def _room_id(text: str, *, number: bool) -> Id:
    """Return the room. Raises `SettingsError`."""
    try:
        room_id: Id = int(text) if number else text
    except ValueError as exc:
        raise SettingsError(f"unable to watch {text!r}; it is no integer") from exc
    if not valid_id(room_id):
        raise SettingsError(f"unable to watch {text!r}; a room is 1-128 of letters, digits, _ . : -")
    return room_id


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _tell_loss(why: str) -> None:
    _tell(f"the connection is lost, trying again{f': {why}' if why else ''}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
