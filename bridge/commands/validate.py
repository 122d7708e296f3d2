"""``validate``: real clients against a running bridge, the flag off and then on."""

import argparse
import contextlib
import json
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge import profiles
from bridge.commands import cluster, load, picture, reference, report
from bridge.commands.children import ChildError
from bridge.commands.device import DeviceRefused
from bridge.commands.load import Load
from bridge.commands.loan import lent
from bridge.commands.serve import until_stopped
from bridge.commands.tokens import read_token
from bridge.commands.verdict import Check, Figures, Limits, checks, figures
from bridge.errors import FlagRefused, SettingsError, StoreUnavailable
from bridge.events import Id
from bridge.remote_flag import RemoteFlag
from bridge.rollout import Value
from bridge.settings import Settings, config_dir
from bridge.settings import load as load_settings

DEVICES_PER_ROOM = 2
"""Fewer cannot have different texts."""
Parser = argparse.ArgumentParser
TEACHES = """\
Let real Socket.IO clients ask a running bridge, first with the flag off (the baseline), then on, and compare
what they hear: first text and complete answer on the device, errors, losses, repeats, texts that differ.

  python -m bridge validate --rooms 20 --messages 200          a bridge and a backend of its own
  python -m bridge validate --url http://127.0.0.1:8080        yours: its backend is asked 400 times
  python -m bridge validate --url ... --as-is                  yours, and the flag is left alone
  python -m bridge validate --users 100 --rooms 50 --picture wait.svg

With --url it sets the flag of that bridge to off, then on, for everybody there, and puts it back, after
Ctrl-C too; what somebody else sets meanwhile stays. That needs its BRIDGE_ADMIN_TOKEN. In each room one
question is under way at a time. Times are judged where answers stream; errors, losses and repeats always.
A token may be @FILE, so that no list of processes shows it.

exit status: 0 all checks passed, 1 one failed or it was interrupted, 2 wrong usage or no bridge there
"""


def add_parser(verbs: "argparse._SubParsersAction[Parser]", file: Parser) -> None:
    """Add the verb; ``file`` is what every verb takes."""
    form = argparse.RawDescriptionHelpFormatter
    says = "compare a bridge with the flag off and on, through real clients"
    parser = verbs.add_parser(
        "validate", parents=[file], help=says, description=TEACHES, formatter_class=form
    )
    where = parser.add_argument_group("where")
    where.add_argument("--url", default="", help="the bridge (default: one of its own, with its own backend)")
    where.add_argument("--admin-url", default="", help="where its /admin/flag is (default: --url)")
    where.add_argument("--admin-token", default="", help="opens /admin/flag (BRIDGE_ADMIN_TOKEN)")
    where.add_argument("--token", action="append", default=[], help="of a user; may be repeated")
    where.add_argument("--as-is", action="store_true", help="leave the flag alone, measure once")
    asked = parser.add_argument_group("what is asked")
    asked.add_argument("--rooms", type=_count, default=20, metavar="N", help="(default 20)")
    asked.add_argument("--room", action="append", default=[], help="an existing room, in their place; repeat")
    asked.add_argument("--users", type=_count, metavar="N", help="devices in all (default: 2 a room)")
    asked.add_argument("--messages", type=_count, default=200, metavar="N", help="each way (default 200)")
    asked.add_argument("--content", default="Tell me how an answer grows.", help="the question")
    asked.add_argument("--answer-s", type=_positive, default=60.0, metavar="S", help="overdue after (60)")
    _add_limits(parser.add_argument_group("limits, on the device"))
    said = parser.add_argument_group("what is said")
    said.add_argument("--json", action="store_true", help="print JSON (default: for people)")
    said.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the waits: an SVG, or a page if .html"
    )


def _add_limits(group: "argparse._ArgumentGroup") -> None:
    plain = Limits()
    times = (("--ttft-p95-ms", plain.ttft_p95_ms), ("--completion-p95-ms", plain.completion_p95_ms))
    for name, default in times:
        group.add_argument(name, type=_positive, default=default, metavar="MS", help=f"(default {default:g})")
    percent = plain.errors_percent
    group.add_argument(
        "--errors-percent", type=_least, default=percent, metavar="N", help=f"(default {percent:g})"
    )
    for name in ("--lost", "--duplicated"):
        group.add_argument(name, type=_whole, default=0, metavar="N", help="so many may be (default 0)")


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured where, and how it was judged."""

    url: str
    load: Load
    sides: Sequence[Figures]
    limits: Limits

    @property
    def checks(self) -> list[Check]:
        """Every figure against its limit."""
        return [check for side in self.sides for check in checks(side, self.limits)]

    @property
    def passed(self) -> bool:
        """True when all checks are."""
        return all(check.passed for check in self.checks)

    @property
    def title(self) -> str:
        """One line that says how much was asked where."""
        ways = " each way" if len(self.sides) > 1 else ""
        rooms, devices = len(self.load.rooms), self.load.devices
        return f"{rooms} rooms, {devices} devices, {self.load.messages} messages{ways}, {self.url}"

    def lines(self) -> list[str]:
        """Return all of it for people."""
        found = self.checks
        return [self.title, "", *report.table(self.sides, found, self.limits), "", report.verdict(found)]

    def json(self) -> str:
        """Return all of it as JSON."""
        said = {
            "url": self.url,
            "rooms": len(self.load.rooms),
            "devices": self.load.devices,
            "messages": self.load.messages,
            "sides": [side.wire() for side in self.sides],
            "checks": [check.wire() for check in self.checks],
            "passed": self.passed,
        }
        return json.dumps(said)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Validate until done or stopped; return the exit status. Raises `BridgeError`."""
    asked, limits = _load(arguments), _limits(arguments)
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
        url = arguments.url
        if not url:
            url, settings = await stack.enter_async_context(_own())
        try:
            sides = await _sides(settings, arguments, url, asked)
        except (DeviceRefused, FlagRefused, StoreUnavailable) as exc:
            raise SettingsError(f"unable to validate; {exc}") from exc
    return Measured(arguments.url or "a bridge of its own", asked, sides, limits)


async def _sides(settings: Settings, arguments: argparse.Namespace, url: str, asked: Load) -> list[Figures]:
    """Measure under each value of the flag. Raises `DeviceRefused`, `FlagRefused` and `StoreUnavailable`."""
    name = f"validate-{uuid.uuid4().hex[:8]}"
    async with contextlib.AsyncExitStack() as stack:
        rooms = await stack.enter_async_context(load.joined(settings, url, asked))
        if arguments.as_is:
            return [await _side(rooms, "as is", name, asked.messages)]
        token = read_token(arguments.admin_token) or settings.admin_token
        switch = RemoteFlag(arguments.admin_url or url, token)
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


def _load(arguments: argparse.Namespace) -> Load:
    """Return what is to be asked. Raises `SettingsError`."""
    name = f"validate-{uuid.uuid4().hex[:8]}"
    rooms: tuple[Id, ...] = tuple(arguments.room) or tuple(
        f"{name}-{number}" for number in range(1, arguments.rooms + 1)
    )
    least = DEVICES_PER_ROOM * len(rooms)
    devices = arguments.users or least
    if devices < least:
        why = f"{len(rooms)} rooms need {least} or more, two in each"
        raise SettingsError(f"unable to use --users {devices}; {why}")
    if arguments.messages < len(rooms):
        why = f"each of {len(rooms)} rooms asks at least once"
        raise SettingsError(f"unable to use --messages {arguments.messages}; {why}")
    tokens = tuple(read_token(token) for token in arguments.token)
    return Load(rooms, devices, arguments.messages, arguments.content, tokens, arguments.answer_s)


def _limits(arguments: argparse.Namespace) -> Limits:
    return Limits(
        ttft_p95_ms=arguments.ttft_p95_ms,
        completion_p95_ms=arguments.completion_p95_ms,
        errors_percent=arguments.errors_percent,
        lost=arguments.lost,
        duplicated=arguments.duplicated,
    )


def _draw(file: Path, measured: Measured) -> None:
    parts = (measured.sides, measured.limits, measured.title)
    page = file.suffix in (".html", ".htm")
    drawn = picture.html(*parts, measured.lines()) if page else picture.svg(*parts)
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


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")


def _whole(text: str) -> int:
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number")


def _least(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 up")


def _positive(text: str) -> float:
    if _least(text) > 0:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
