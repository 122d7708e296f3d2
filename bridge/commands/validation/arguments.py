"""What `validate` is told: its arguments, and what they mean."""

import argparse
import contextlib
import uuid
from pathlib import Path

from bridge.commands.tokens import read_token
from bridge.commands.validation.load import Load
from bridge.commands.validation.verdict import Limits
from bridge.errors import SettingsError
from bridge.events import Id

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


def load_of(arguments: argparse.Namespace) -> Load:
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


def limits_of(arguments: argparse.Namespace) -> Limits:
    """Return what has to be kept."""
    return Limits(
        ttft_p95_ms=arguments.ttft_p95_ms,
        completion_p95_ms=arguments.completion_p95_ms,
        errors_percent=arguments.errors_percent,
        lost=arguments.lost,
        duplicated=arguments.duplicated,
    )


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
