"""Proves the checker: plants faults into copies of the bridge, and sees whether the nemesis finds them.

python -m tests.cluster.mutants [NAME ...] [--seed 1] [--minutes 0.7]

Exit status 0 when every mutant was caught, and the bridge as it is was not.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("bridge", "backend_stub", "tests", "config")
RUN_S = 300


@dataclass(frozen=True, slots=True)
class Mutant:
    """``edits`` are (file, what stands there, what stands there instead); ``options`` are the nemesis'."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    options: str


FENCE = "if kept[1] ~= node or kept[2] ~= ARGV[4] then return { 'fenced', 0 } end"
ENTERED = "        self._held[room] = None\n        self._live(born)\n        return Entered("
REGISTERED = """        await asyncio.sleep(0.05)
        await self._redis.commands.sadd(f"{self._prefix}nodes:{room}", self._node_id)
"""
KEEP = "        kept = self._journal.append(run.turn_id, run.epoch, batch)\n"
HEAR = """        self._rooms.hear_turn(run.turn_id, run.claim.prompt.room_id, batch)

        async def late():
            await asyncio.sleep(0.1)
            return await self._journal.append(run.turn_id, run.epoch, batch)

        kept = asyncio.ensure_future(late())
"""
MEND_LOST = """                self._lose_hold()
                await self._mend_loss()
                await self._rooms.sweep()
"""
REGISTER = "redis.call('SADD', p .. 'nodes:' .. room, node)\n"
MUTANTS = (
    Mutant("as it is", (), "--faults kill,stop,flush,devices"),
    Mutant(
        "no fence",
        (
            ("bridge/stores/lua/append.lua", FENCE, ""),
            ("bridge/relay.py", "if run is not None and number > run.kept_number:", "if run is None:"),
        ),
        "--faults stop",
    ),
    Mutant(
        "a fenced owner goes on",
        (("bridge/writer.py", "        run.fenced = True\n", "        return\n"),),
        "--faults stop",
    ),
    Mutant(
        "batches are not told apart by number",
        (
            (
                "bridge/transcript.py",
                "if number != self.number + 1:",
                "if number > self.number + 1:",
            ),
        ),
        "--faults redis_kill",
    ),
    Mutant(
        "snapshot before registration",
        (
            ("bridge/stores/lua/enter.lua", REGISTER, ""),
            ("bridge/stores/redis.py", ENTERED, REGISTERED + ENTERED),
        ),
        "--faults devices --users 32 --rooms 16 --tokens 5-60",
    ),
    Mutant(
        "a takeover starts the text anew",
        (
            ("bridge/relay.py", "        run.turn.go_on(taken.transcript)\n", ""),
            ("bridge/relay.py", "run.pump.go_on()", "run.pump.run()"),
        ),
        "--faults kill",
    ),
    Mutant(
        "a takeover forgets the position",
        (("bridge/pump.py", "self._pump(self._turn.position)", 'self._pump("")'),),
        "--faults kill",
    ),
    Mutant(
        "what an inbox lost is not missed",
        (
            (
                "bridge/node.py",
                MEND_LOST,
                "                pass\n",
            ),
            ("bridge/node.py", "if not await self._inbox.beat():", "if await self._inbox.beat() is None:"),
        ),
        "--faults flush --tokens 10-80",
    ),
    Mutant(
        "the inbox is heard from now on after a cut",
        (
            (
                "bridge/inbox_reader.py",
                "            except TROUBLE:\n",
                "            except TROUBLE:\n                self._last, self._number = b'$', None\n",
            ),
        ),
        "--faults redis_kill,redis_cut,reader_blackhole --tokens 10-80",
    ),
    Mutant(
        "leases are not renewed",
        (("bridge/node.py", "            await self._journal.renew(owned)\n", "            pass\n"),),
        "--faults devices --rate 0.3 --tokens 3-6",
    ),
    Mutant(
        "a lost journal is not kept anew",
        (
            (
                "bridge/writer.py",
                "            await self._restore(run, batch)\n",
                "            pass\n",
            ),
        ),
        "--faults flush",
    ),
    Mutant(
        "catching up repeats a chunk",
        (("bridge/room.py", "kept.since(heard_seq)", "kept.since(heard_seq and heard_seq - 1)"),),
        "--faults flush,redis_kill,reader_blackhole",
    ),
    Mutant(
        "a repeated request is claimed again",
        (("bridge/stores/lua/claim.lua", "if kept and kept[1] then", "if false then"),),
        "--faults devices",
    ),
    Mutant(
        "a resume is told from the start",
        (
            (
                "bridge/rooms.py",
                "room.replay(device, running, resume.get(named))",
                "room.replay(device, running, None)",
            ),
        ),
        "--faults devices",
    ),
    Mutant(
        "heard before it is kept",
        (("bridge/writer.py", KEEP, HEAR),),
        "--faults kill",
    ),
    Mutant(
        "a node that goes down ends its turns",
        (
            (
                "bridge/relay.py",
                "given = await self._journal.release(run.turn_id, run.epoch)",
                "given = False",
            ),
        ),
        "--faults term",
    ),
)


def planted(mutant, folder):
    """Copy the tree into ``folder`` and edit it."""
    for part in PARTS:
        skipped = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / part, folder / part, ignore=skipped)
    for name, old, new in mutant.edits:
        file = folder / name
        text = file.read_text("utf-8")
        if old not in text:
            raise LookupError(f"unable to plant {mutant.name!r}; {name} does not hold {old!r}")
        file.write_text(text.replace(old, new), "utf-8")


def found(mutant, seed, minutes):
    """Run the nemesis over the mutant; return what it found, None when there was no verdict."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        planted(mutant, Path(name))
        command = [sys.executable, "-m", "tests.cluster.nemesis", "--json", "--users", "24", "--warm", "1"]
        given = ["--seed", str(seed), "--minutes", str(minutes), "--patience", "0", *mutant.options.split()]
        done = subprocess.run(
            [*command, *given],
            cwd=name,
            capture_output=True,
            timeout=RUN_S,
            check=False,
        )
    lines = done.stdout.decode().splitlines()
    return json.loads(lines[-1]) if lines else None


def main():
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.mutants")
    parser.add_argument("names", nargs="*", help="these only: " + "; ".join(each.name for each in MUTANTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.7)
    arguments = parser.parse_args()
    wrong = 0
    for mutant in MUTANTS:
        if arguments.names and mutant.name not in arguments.names:
            continue
        verdict = found(mutant, arguments.seed, arguments.minutes)
        caught = verdict is None or bool(verdict["violations"])
        wrong += caught is not bool(mutant.edits)
        said = "no verdict" if verdict is None else _counts(verdict)
        print(f"{'caught' if caught else 'survived':9} {mutant.name:44} {said}", flush=True)
    return 1 if wrong else 0


def _counts(verdict):
    counts = [f"{count} {kind}" for kind, count in verdict["counts"].items() if count]
    return f"{verdict['turns']} turns: {', '.join(counts) or 'nothing wrong'}"


if __name__ == "__main__":
    sys.exit(main())
