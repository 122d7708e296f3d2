"""Breaks a cluster of bridges at random and judges what its devices heard.

python -m tests.cluster.nemesis [--seed 1] [--minutes 1] [--nodes 3] [--users 40] [--faults kill,stop,...]
python -m tests.cluster.nemesis --only kill --times 100

Exit status 0 when no law was broken, else 1. The same seed chooses the same faults and the same users'
wishes; what the machine makes of them differs from run to run.
"""

import argparse
import asyncio
import gc
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import aiohttp

from bridge.__main__ import _loop_factory
from tests.cluster.crowd import Crowd, session
from tests.cluster.faults import FAULTS, WELL_S, Injected, Scene
from tests.cluster.judge import judge
from tests.cluster.ledger import Ledger
from tests.cluster.pauses import pauses
from tests.cluster.report import caught_up, pauses_told, show
from tests.cluster.world import World

BETWEEN_S, OF_ONE_S = (3.0, 8.0), (1.5, 3.0)
SETTLE_S = 12.0


class Nemesis:
    """One run: a world, its users, and the faults that hit them."""

    def __init__(self, world, crowd, chosen, chance):
        self.world, self.crowd = world, crowd
        self.injected, self.lags_s, self.ran_s = [], [0.0], 0.0
        self._chosen, self._chance = chosen, chance

    async def for_minutes(self, minutes):
        """Inject a fault of any kind every few seconds."""
        now = asyncio.get_running_loop().time
        ends_s = now() + 60 * minutes
        weights = [max(1, FAULTS[kind].weight) for kind in self._chosen]
        while (rest_s := ends_s - now()) > 0:
            await asyncio.sleep(min(rest_s, self._chance.uniform(*BETWEEN_S)))
            if now() < ends_s - BETWEEN_S[0]:
                await self._inject(self._chance.choices(self._chosen, weights)[0])

    async def times(self, kind, times):
        """Inject one kind so often, each time while turns run."""
        for _ in range(times):
            await asyncio.sleep(self._chance.uniform(*OF_ONE_S) if FAULTS[kind].weight else 0.02)
            for _ in range(100):
                if self.crowd.running():
                    break
                await asyncio.sleep(0.05)
            await self._inject(kind)

    async def _inject(self, kind):
        now = asyncio.get_running_loop().time
        injected = Injected(kind, now())
        self.injected.append(injected)
        async with asyncio.timeout(6 * WELL_S):
            await FAULTS[kind].act(Scene(self.world, self.crowd, self._chance, injected))
        injected.healed_at_s = now()
        gc.freeze()  # what was heard is kept: to look through it again and again would stop the devices

    async def watch(self):
        """Note how late this process is itself: such a pause is nobody's fault."""
        now = asyncio.get_running_loop().time
        while True:
            began_s = now()
            await asyncio.sleep(0.05)
            self.lags_s.append(now() - began_s - 0.05)

    async def run(self, arguments):
        """Let the users talk, break things, wait until all is quiet; return what was left behind."""
        ledger = Ledger(self.world)
        await self.crowd.all_there(30)
        await ledger.open_keys()
        self.crowd.talk()
        await asyncio.sleep(arguments.warm)
        await self.crowd.hush()
        await ledger.open()
        watching = asyncio.create_task(self.watch())
        self.crowd.talk()
        began_s = time.monotonic()
        if arguments.only:
            await self.times(arguments.only, arguments.times)
        else:
            await self.for_minutes(arguments.minutes)
        self.ran_s = time.monotonic() - began_s
        self.world.heal()
        await self.crowd.hush()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await asyncio.sleep(SETTLE_S)
        return await ledger.close(arguments.patience)


async def run(arguments, folder):
    """Do what the command line says; return the findings as JSON would have them."""
    place = {"nodes": arguments.nodes, "lease_s": arguments.lease}
    async with World.running(folder, **place) as world, session() as devices:
        wishes = {name: getattr(arguments, name) for name in ("users", "tokens", "rate", "seed")}
        rooms = arguments.rooms or max(2, arguments.users // 4)
        crowd = Crowd(world, devices, rooms=rooms, rest_s=arguments.rest, **wishes)
        chosen = [arguments.only] if arguments.only else arguments.faults
        nemesis = Nemesis(world, crowd, chosen, random.Random(f"{arguments.seed} faults"))
        try:
            left = await nemesis.run(arguments)
            stored = await _stored(world, crowd)
        finally:
            await crowd.leave()
    if arguments.story:
        _tell(crowd, nemesis, arguments.story)
    return _findings(nemesis, stored, left, arguments)


def _findings(nemesis, stored, left, arguments):
    world, crowd = nemesis.world, nemesis.crowd
    calls = {name: (each.posts, each.answers) for name, each in world.backend.tally.calls.items()}
    troubles = [(each.began_at_s, each.healed_at_s) for each in nemesis.injected]
    verdict = judge(crowd.stories, crowd.asked, stored=stored, calls=calls, troubles=troubles)
    felt = pauses(crowd.stories, crowd.asked, nemesis.injected, FAULTS, arguments.lease)
    return {
        "seed": arguments.seed,
        "ran_s": round(nemesis.ran_s, 1),
        "turns": verdict.turns,
        "hearings": verdict.hearings,
        "chunks": verdict.chunks,
        "retold": verdict.retold,
        "posts": sum(posts for posts, _ in calls.values()),
        "answers": sum(answers for _, answers in calls.values()),
        "sends": crowd.sends,
        "own_lag_ms": round(1000 * max(nemesis.lags_s)),
        "faults": {kind: pauses_told(each) for kind, each in felt.items()},
        "caught_up": caught_up(crowd),
        "left": left,
        "counts": verdict.counts,
        "line": verdict.line,
        "violations": [asdict(each) for each in verdict.violations],
        "allowed": [asdict(each) for each in verdict.allowed],
        "known_limit": len({each.request for each in verdict.allowed}),
    }


async def _stored(world, crowd):
    """Return the answers as the backend's history has them."""
    found = {}
    async with aiohttp.ClientSession() as http:
        for room in {each.room for each in crowd.asked.values()}:
            before = ""
            while True:
                url = f"{world.backend.base_url}/chat/rooms/{room}/messages?limit=200{before}"
                async with http.get(url) as response:
                    page = await response.json()
                rows = page["messages"]
                found |= {
                    row["requestId"]: row["content"]
                    for row in rows
                    if row["role"] == "assistant" and row["status"] == "success"
                }
                if not page.get("next"):
                    break
                before = f"&before={page['next']}"
    return found


def _tell(crowd, nemesis, file):
    """Write what was heard and what was injected, one JSON object a line."""
    lines = [{"injected": asdict(each)} for each in nemesis.injected]
    lines += [{"asked": asdict(each)} for each in crowd.asked.values()]
    for story in crowd.stories:
        lines.append({"device": story.device, "presence": story.presence})
        lines += [{"device": story.device, **asdict(heard)} for heard in story.heard]
    Path(file).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def _kinds(text):
    kinds = text.split(",")
    for kind in kinds:
        if kind not in FAULTS:
            raise argparse.ArgumentTypeError(f"{kind} is none of {', '.join(FAULTS)}")
    return kinds


def _span(kind):
    return lambda text: tuple(kind(part) for part in text.split("-"))


def arguments_of(argv):
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.nemesis",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--users", type=int, default=40)
    parser.add_argument("--rooms", type=int, help="default: a quarter of the users")
    parser.add_argument("--lease", type=float, default=2.0, help="seconds")
    parser.add_argument("--tokens", type=_span(int), default=(30, 150), help="LEAST-MOST of an answer")
    parser.add_argument("--rate", type=float, default=30.0, help="tokens per second of an answer")
    parser.add_argument(
        "--rest", type=_span(float), default=(0.2, 3.0), help="LEAST-MOST seconds between turns of a room"
    )
    parser.add_argument("--warm", type=float, default=5.0, help="seconds of talk before anything is measured")
    parser.add_argument("--patience", type=float, default=140.0, help="seconds that keys may take to expire")
    parser.add_argument(
        "--faults",
        type=_kinds,
        default=[k for k, f in FAULTS.items() if f.weight],
        metavar="KIND,...",
        help=", ".join(FAULTS),
    )
    parser.add_argument(
        "--only", choices=FAULTS, help="this fault, --times so often, instead of --minutes of all"
    )
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--story", metavar="FILE", help="write what each device heard, as JSON lines")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the nodes' logs, and say where")
    return parser.parse_args(argv)


def main(argv=None):
    """Run the command line; return the exit status."""
    arguments = arguments_of(argv)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a call that is cut is none of its faults
    folder = Path(tempfile.mkdtemp(prefix="nemesis-"))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            found = runner.run(run(arguments, folder))
    finally:
        if arguments.keep:
            print(f"logs are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    show(found) if not arguments.json else print(json.dumps(found))
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
