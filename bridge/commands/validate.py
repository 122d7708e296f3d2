"""``validate``: real clients against a running bridge, the flag off and then on."""

import argparse
import contextlib
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bridge import profiles
from bridge.commands import cluster, reference
from bridge.commands.children import ChildError
from bridge.commands.device import DeviceRefused
from bridge.commands.serve import until_stopped
from bridge.commands.tokens import read_token, read_url
from bridge.commands.validation import load, report
from bridge.commands.validation.arguments import limits_of, load_of
from bridge.commands.validation.load import Load
from bridge.commands.validation.loan import lent
from bridge.commands.validation.measured import Measured
from bridge.commands.validation.verdict import Figures, Limits, figures
from bridge.errors import FlagRefused, SettingsError, StoreUnavailable
from bridge.remote_flag import RemoteFlag
from bridge.rollout import Value
from bridge.settings import Settings, config_dir
from bridge.settings import load as load_settings


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Validate until done or stopped; return the exit status. Raises `BridgeError`."""
    asked, limits = load_of(arguments), limits_of(arguments)
    if arguments.picture and not arguments.picture.parent.is_dir():  # better now than in some minutes
        raise SettingsError(f"unable to write {arguments.picture}; there is no such folder")
    measured = await until_stopped(_validate(settings, arguments, asked, limits))
    if measured is None:
        _tell("stopped before the end: nothing is proved")
        return 1
    print(measured.json() if arguments.json else "\n".join(measured.lines()))
    if arguments.picture:
        _draw(arguments.picture, measured)
    return 0 if measured.passed else 1


async def _validate(
    settings: Settings, arguments: argparse.Namespace, asked: Load, limits: Limits
) -> Measured:
    async with contextlib.AsyncExitStack() as stack:
        if arguments.url:
            url = read_url(arguments.url)
        else:
            url, settings = await stack.enter_async_context(_own())
        try:
            sides = await _sides(settings, arguments, url, asked)
        except (DeviceRefused, FlagRefused, StoreUnavailable) as exc:
            raise SettingsError(f"unable to validate; {exc}") from exc
    return Measured(url if arguments.url else "a bridge of its own", asked, sides, limits)


async def _sides(settings: Settings, arguments: argparse.Namespace, url: str, asked: Load) -> list[Figures]:
    """Measure under each value of the flag. Raises `DeviceRefused`, `FlagRefused` and `StoreUnavailable`."""
    name = f"validate-{uuid.uuid4().hex[:8]}"
    async with contextlib.AsyncExitStack() as stack:
        rooms = await stack.enter_async_context(load.joined(settings, url, asked))
        if arguments.as_is:
            return [await _side(rooms, "as is", name, asked.messages)]
        token = read_token(arguments.admin_token) or settings.admin_token
        switch = RemoteFlag(read_url(arguments.admin_url) if arguments.admin_url else url, token)
        loan = await stack.enter_async_context(lent(switch, name, _tell))
        found = loan.found.rollout
        _tell(f"the flag of {url} is {found}; it is set to off, then on, for everybody, and put back")
        sides = []
        ways: tuple[tuple[str, Value], ...] = (("off", "off"), ("on", "on"))
        for flag, value in ways:
            await loan.set(value)
            sides.append(await _side(rooms, flag, name, asked.messages))
    return sides


async def _side(rooms: load.Rooms, flag: str, name: str, messages: int) -> Figures:
    before = rooms.reconnects
    turns = await rooms.ask(f"{name}-{flag.replace(' ', '-')}", _progress(flag, messages))
    return figures(flag, turns, rooms.reconnects - before)


@contextlib.asynccontextmanager
async def _own() -> AsyncIterator[tuple[str, Settings]]:
    """Run a bridge and a backend, whatever the environment says; yield the address and the settings."""
    profile = profiles.read(config_dir(), "reference", {})
    plain = {"demo": True, "backend_profile": "reference", "port": 0, "drain_s": 0.5}
    with tempfile.TemporaryDirectory(prefix="bridge-validate-") as folder:
        log = Path(folder) / "log"
        try:
            async with reference.running(log) as (_, backend_url):
                settings = load_settings({}, None, profile.settings, backend_url=backend_url, **plain)
                async with cluster.alone(settings, log) as node:
                    yield node.address, settings
        except ChildError as exc:
            raise ChildError(f"{exc}{_last_words(log)}") from exc


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines() if log.exists() else []
    return f": {lines[-1]}" if lines else ""


def _draw(file: Path, measured: Measured) -> None:
    drawn = measured.drawn(as_page=file.suffix in (".html", ".htm"))
    try:
        file.write_text(drawn, "utf-8")
    except OSError as exc:
        raise SettingsError(f"unable to write {file}; {exc.strerror}") from exc
    _tell(f"drawn: {file}")


def _progress(flag: str, of: int) -> Callable[[], None]:
    """Return what is called for each answer; on a terminal it draws."""
    done, words = 0, flag if flag == "as is" else f"flag {flag}"

    def answered() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            sys.stderr.write(report.bar(done, of, words) + ("\n" if done == of else ""))
            sys.stderr.flush()

    return answered


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
