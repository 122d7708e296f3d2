"""What a delivery costs one bridge process, and how late it is: by devices in a room, then by load.

python -m benchmarks.fanout [--quick] [--json] [--picture docs/fanout.svg]

A delivery is one token on one device. The bridge has a Redis of its own: journal, resume and takeover are on;
its guard is off, because it ends streams that are late. Its CPU time is what the system says of the process,
over a window in which all answers stream. The backend and the devices run here, so one clock stamps a token
when it is written and when a device has it. On Linux the bridge has a core for itself; this process and Redis
have the others. "generator" is what this process used of its core: near 100 % the latencies are its own.

The second table has more and more answers, of 50 tokens a second for 2 devices each, until p99 passes 100 ms
or a core is full: 97 % of the bridge's, or 90 % of this process's. A row that is late with no core full is
measured up to three times, because others have the machine then; the soonest is shown.

exit status: 0 every token was heard once, 1 one was lost or repeated (its row says so)
"""

import argparse
import asyncio
import contextlib
import json
import resource
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.fanout_picture import LATE_MS, svg
from benchmarks.load import Load
from benchmarks.window import Bench, Row, serving

DEVICES = (1, 2, 10, 100, 1000)
ANSWERS = (10, 25, 50, 100, 150, 200, 300, 400, 600, 800)
QUICK_ANSWERS = (10, 50, 100)
ANSWER_DEVICES, ANSWER_RATE = 2, 50.0
MANY, VERY_MANY = 100, 1000
SECONDS, QUICK_S = 6.0, 1.5
FILES = 16384

_HEAD = "{:>7} {:>14} {:>9} {:>12} {:>8} {:>8} {:>7} {:>10} {:>7} {:>5} {:>9}"
_COLUMNS = (
    ("", "", "CPU s", "deliveries", "p50", "p99", "bridge", "generator", "merged", "lost", "repeated"),
    ("", "", "per 1M", "per CPU s", "ms", "ms", "CPU %", "CPU %", "", "", ""),
)


@dataclass
class Report:
    """What was seen, row by row; ``say`` is told each as soon as it is there."""

    say: Callable[[str], None]
    machine: dict[str, str] = field(default_factory=machine.told)
    fanout: list[Row] = field(default_factory=list)
    load: list[Row] = field(default_factory=list)

    @property
    def heard_once(self) -> bool:
        """Whether every token of every row was."""
        return all(row.heard_once for row in (*self.fanout, *self.load))

    def machine_lines(self) -> list[str]:
        """Return the machine and the versions, for people."""
        names = ("python", "redis-server", *machine.LIBRARIES)
        versions = ", ".join(f"{name} {self.machine[name]}" for name in names)
        return [f"{self._place()}, {self.machine['kernel']}", versions]

    def _place(self) -> str:
        found = self.machine
        return f"{found['cores']} cores, {found['cpu']}, load average {found['load']} before"

    def records(self) -> dict[str, Any]:
        """Return all, for JSON."""
        return {
            "machine": self.machine,
            "again": again(),
            "fanout": [row.record() for row in self.fanout],
            "load": [row.record() for row in self.load],
        }

    def picture(self) -> str:
        """Return both curves as one SVG."""
        return svg(
            [(row.load.devices, row.per_cpu_s) for row in self.fanout],
            [(row.load.rooms, row.p50_ms, row.p99_ms) for row in self.load],
            f"one bridge process, journal, resume and takeover on; {self._place()}",
        )


async def measure(arguments: argparse.Namespace, report: Report) -> None:
    """Measure both tables."""
    for line in report.machine_lines():
        report.say(line)
    report.say(f"again: {again()}")
    async with serving() as bench:
        _head(report, "devices", "rooms x tok/s")
        for devices in arguments.devices:
            row = await bench.measure(fanout(devices, arguments.seconds))
            report.fanout.append(row)
            report.say(_line(devices, f"{row.load.rooms} x {row.load.rate:g}", row))
        await _more_and_more(bench, arguments, report)


async def _more_and_more(bench: Bench, arguments: argparse.Namespace, report: Report) -> None:
    _head(report, "answers", "devices x tok/s")
    for answers in arguments.answers:
        load = Load(answers, ANSWER_DEVICES, ANSWER_RATE, arguments.seconds)
        row = await bench.measure_patiently(load, arguments.late_ms)
        report.load.append(row)
        report.say(_line(answers, f"{ANSWER_DEVICES} x {ANSWER_RATE:g}", row))
        if row.is_full or row.p99_ms > arguments.late_ms or not row.heard_once:
            return


def fanout(devices: int, seconds: float) -> Load:
    """Return the load for so many devices in a room: fewer rooms where they are many."""
    if devices >= VERY_MANY:
        return Load(1, devices, 10.0, seconds)
    return Load(10, devices, 10.0, seconds) if devices >= MANY else Load(40, devices, 20.0, seconds)


def again() -> str:
    """Return how to measure the same once more."""
    return shlex.join(["python", "-m", "benchmarks.fanout", *sys.argv[1:]])


def _head(report: Report, first: str, second: str) -> None:
    upper, lower = _COLUMNS
    report.say("")
    report.say(_HEAD.format(*upper))
    report.say(_HEAD.format(first, second, *lower[2:]).rstrip())


def _line(first: int, second: str, row: Row) -> str:
    merged = f"{row.merged_percent:.1f} %"
    cells = (f"{row.s_per_million:.1f}", f"{row.per_cpu_s:,.0f}", f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}")
    used = (f"{row.cpu_percent:.0f}", f"{row.generator_percent:.0f}")
    line = _HEAD.format(first, second, *cells, *used, merged, row.lost, row.repeated)
    return line if row.heard_once else f"{line}  FAILED, no good end on {row.failed} devices"


def _runner() -> asyncio.Runner:
    """Return a loop that costs little, where it is installed."""
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  (an extra)

        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()


def _open_many_files() -> None:
    """Let this process, and those it starts, have a connection for each device."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"windows of {QUICK_S:g} s and fewer answers")
    parser.add_argument("--seconds", type=float, help=f"of each window (default {SECONDS:g})")
    parser.add_argument("--devices", type=_count, nargs="+", metavar="N", default=DEVICES, help="in a room")
    parser.add_argument(
        "--answers", type=_count, nargs="+", metavar="N", help="at once, for the second table"
    )
    says = "the p99 that ends the second table; more on a busy machine (default %(default)g)"
    parser.add_argument("--late-ms", type=float, metavar="MS", default=LATE_MS, help=says)
    parser.add_argument("--json", action="store_true", help="print JSON (default: for people)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw both curves as an SVG")
    arguments = parser.parse_args(argv)
    arguments.seconds = arguments.seconds or (QUICK_S if arguments.quick else SECONDS)
    arguments.answers = sorted(arguments.answers or (QUICK_ANSWERS if arguments.quick else ANSWERS))
    arguments.devices = sorted(arguments.devices)
    return arguments


def _count(words: str) -> int:
    if not words.isdecimal() or not int(words):
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return int(words)


def main() -> int:
    """Measure; return 1 where something was lost or repeated."""
    arguments = parsed()
    report = Report(_nothing if arguments.json else _at_once)
    _open_many_files()
    with _runner() as runner:
        runner.run(measure(arguments, report))
    if arguments.json:
        print(json.dumps(report.records(), indent=2))
    if arguments.picture is not None:
        arguments.picture.write_text(report.picture(), "utf-8")
    return 0 if report.heard_once else 1


def _at_once(line: str) -> None:
    print(line, flush=True)


def _nothing(_line: str) -> None:
    """Say nothing: the records come at the end."""


if __name__ == "__main__":
    sys.exit(main())
