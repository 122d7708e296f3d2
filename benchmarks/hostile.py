"""Hostile bytes against the framing and every dialect: crashes, hangs, disagreements with a strict reader.

python -m benchmarks.hostile [--cases 100000] [--seed 1] [--case N]

Tells random stories, spoils nine of ten, cuts them anywhere, and hears them as the bridge does. A case is
told again by its seed and number; ``--case`` tells only that one and prints its bytes. For POSIX: a hang is
found by a signal.
"""

import argparse
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "core"))

import stories  # the tests' own, found by the line above
import strict_dialects

from bridge.errors import BackendMalformed

HANG_S = 2.0
SHOWN = 3
"""So many faults of a kind and a dialect are printed."""


class Case(NamedTuple):
    """One stream as the network brings it; ``told`` is what it means, where it was not spoiled."""

    name: str
    stream: bytes
    pieces: list[bytes]
    told: Any
    auto: bool


class Hang(BaseException):
    """A case took too long; no `Exception`, so that nothing on the way can swallow it."""


def tell(seed: int, number: int) -> Case:
    """Return the case ``number`` of a seed."""
    chance: Random = stories.seeded(seed, number)
    name = chance.choice(stories.NAMES)
    plain = number % 10 == 0
    story = stories.tell(chance, name, text_first=plain)
    stream = stories.written(chance, story.frames) if plain else stories.spoiled(chance, story)
    told = story.meaning if plain else None
    return Case(name, stream, stories.pieces(chance, stream), told, auto=plain)


def fault(case: Case) -> tuple[str, str] | None:
    """Return the kind of fault and what was seen, None where all is well."""
    try:
        with _deadline():
            return _difference(case)
    except Hang:
        return "hang", f"over {HANG_S:g} s"
    except Exception as error:  # noqa: BLE001  (whatever it is, it is what we look for)
        if isinstance(error, BackendMalformed) and stories.oversized(case.stream):
            return None
        return "crash", f"{type(error).__name__}: {error}"[:300]


def _difference(case: Case) -> tuple[str, str] | None:
    if [*chain(*stories.framed(case.pieces))] != [*chain(*stories.framed([case.stream]))]:
        return "disagreement", "the framing depends on the cuts"
    read = strict_dialects.read(case.name, case.stream)
    if case.told not in {None, read}:
        return "disagreement", f"told {case.told}, read {read}"
    for name in (case.name, "auto") if case.auto else (case.name,):
        heard = stories.heard(name, case.pieces, take_each=len(case.pieces) % 2 == 0)
        if heard != read and not stories.oversized(case.stream):
            return "disagreement", f"{name}: heard {heard}, read {read}"[:600]
    return None


@contextmanager
def _deadline() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(seed: int, cases: int) -> Counter[str]:
    """Run the cases, print the faults and the figures, and return how many faults there were of each kind."""
    faults: Counter[str] = Counter()
    shown: Counter[tuple[str, str]] = Counter()
    slowest_s, slowest, began_s, rss_kib = 0.0, 0, time.perf_counter(), _peak_rss_kib()
    for number in range(cases):
        case = tell(seed, number)
        start_s = time.perf_counter()
        found = fault(case)
        slowest_s, slowest = max((slowest_s, slowest), (time.perf_counter() - start_s, number))
        if found:
            kind, why = found
            faults[kind] += 1
            shown[kind, case.name] += 1
            if shown[kind, case.name] <= SHOWN:
                print(f"{kind} in {case.name}, --seed {seed} --case {number}: {why}", flush=True)
    took_s = time.perf_counter() - began_s
    print(f"seed {seed}: {cases} cases in {took_s:.1f} s, {cases / took_s:.0f} cases/s")
    for kind in ("crash", "hang", "disagreement"):
        print(f"{kind:12} {faults[kind]}")
    print(f"slowest case {slowest_s * 1e3:.1f} ms (--case {slowest})")
    print(f"peak RSS growth {(_peak_rss_kib() - rss_kib) / 1024:.1f} MiB")
    return faults


def _peak_rss_kib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak


def _one(seed: int, number: int) -> Counter[str]:
    case = tell(seed, number)
    found = fault(case)
    print(f"{case.name}, told {case.told}\n{case.pieces}\n{found or 'no fault'}")
    return Counter([found[0]] if found else [])


def main() -> None:
    """Read the arguments and run; the exit status is 1 when there was any fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only this one, with its bytes")
    arguments = parser.parse_args()
    one = arguments.case is not None
    faults = _one(arguments.seed, arguments.case) if one else run(arguments.seed, arguments.cases)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
