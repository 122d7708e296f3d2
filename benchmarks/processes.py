"""What a delivery costs in one process, and in two that share a port and have its devices between them.

python -m benchmarks.processes [--rooms 20] [--devices 10] [--rate 20] [--seconds 5] [--rounds 5]

Both bridges run over one Redis, each with rooms of its own, and are asked in turn, so that a busy machine is
busy for both. Counted is the CPU time of the bridge's processes, their parent's too, by the chunks that
devices heard. Before the rounds that count each has one to get warm.

A process that has less to do does less at a time, and a delivery costs more there, whether it is alone or
not. So the one is measured with its share of the rooms too: the two beside it show what it costs to be two.
"""

import argparse
import asyncio
import statistics
from dataclasses import dataclass, field

import aiohttp

from benchmarks.nodes import backend, node, pids, redis, used_s
from benchmarks.rooms import Backend, Device, ask, fill


@dataclass
class Bridge:
    """One that is measured, round by round."""

    name: str
    address: str
    pids: list[int]
    rooms: int
    first_room: int = 0
    rounds_us: list[float] = field(default_factory=list)
    lost: int = 0
    wrong: int = 0
    at: dict[str, int] = field(default_factory=dict)
    """How many devices each of its processes had."""
    tokens_a_chunk: float = 0.0
    """In the last round: a busy machine merges them."""

    async def round(self, session: aiohttp.ClientSession, arguments: argparse.Namespace, number: int) -> None:
        """Have an answer in every room, and note what that cost, without the coming of the devices."""
        arguments = argparse.Namespace(**{**vars(arguments), "rooms": self.rooms})
        first_room = self.first_room + number * self.rooms
        devices = await fill(session, self.address, arguments, first_room=first_room)
        began_s = self._used_s()
        await ask(devices, arguments)
        used = self._used_s() - began_s
        heard = sum(device.chunks for device in devices)
        self.tokens_a_chunk = sum(len(device.latencies_ms) for device in devices) / heard
        for device in devices:
            await device.close()
        self.rounds_us.append(used / heard * 1e6)
        self._judge(devices, int(arguments.rate * arguments.seconds))

    def _judge(self, devices: list[Device], tokens: int) -> None:
        for device in devices:
            process, dot, _ = device.sid.partition(".")
            name = process if dot else "0"
            self.at[name] = self.at.get(name, 0) + 1
            self.lost += tokens - len(device.latencies_ms)
            self.wrong += device.gaps + device.repeats + device.unequal

    def _used_s(self) -> float:
        return sum(used_s(pid) for pid in self.pids)


async def measure(arguments: argparse.Namespace) -> bool:
    """Run all rounds, print the figures, and return whether all was heard."""
    answers = Backend(int(arguments.rate * arguments.seconds), arguments.rate)
    async with (
        redis() as url,
        backend(stream=answers.stream) as at,
        node(**_settings(url, at, 1)) as one,
        node(**_settings(url, at, arguments.processes)) as many,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        alone, share = (one.address, pids(one.pid)), max(1, arguments.rooms // arguments.processes)
        together = (many.address, pids(many.pid))
        bridges = [
            Bridge("1 process", *alone, arguments.rooms),
            Bridge("its share", *alone, share, first_room=arguments.rooms * (arguments.rounds + 1)),
            Bridge(f"{arguments.processes} processes", *together, arguments.rooms),
        ]
        for number in range(arguments.rounds + 1):
            for bridge in bridges:
                await bridge.round(session, arguments, number)
    _print(arguments, bridges)
    return not any(bridge.lost or bridge.wrong for bridge in bridges)


def _settings(url: str, backend_url: str, processes: int) -> dict[str, str]:
    return {
        "REDIS_URL": url,
        "BRIDGE_REDIS_PREFIX": f"bridge-{processes}:",
        "BRIDGE_PROCESSES": str(processes),
        "BACKEND_URL": backend_url,
        "CHAT_STREAMING_ENABLED": "on",
    }


def _print(arguments: argparse.Namespace, bridges: list[Bridge]) -> None:
    load = f"{arguments.rooms} rooms x {arguments.devices} devices x {arguments.rate:g} tokens/s"
    print(f"{load} x {arguments.seconds:g} s, {arguments.rounds} rounds each")
    medians = []
    for bridge in bridges:
        counted = bridge.rounds_us[1:]
        medians.append(statistics.median(counted))
        rounds = " ".join(f"{each:.1f}" for each in counted)
        print(f"{bridge.name:<12} {medians[-1]:6.1f} us of CPU a delivery (rounds: {rounds})")
        merged = f"{bridge.tokens_a_chunk:.2f} tokens a chunk"
        print(f"{'':<12} devices by process {bridge.at}, {merged}, lost {bridge.lost}, wrong {bridge.wrong}")
    one, share, many = medians
    if one and share:  # else the load was too small for the system's clock
        print(f"of one process with as much for each {many / share:.3f}, with all of it {many / one:.3f}")


def main() -> int:
    """Read the arguments and measure; return 1 where something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rooms", type=int, default=20)
    parser.add_argument("--devices", type=int, default=10, help="in each room")
    parser.add_argument("--rate", type=float, default=20, help="tokens per second of each answer")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    return 0 if asyncio.run(measure(parser.parse_args())) else 1


if __name__ == "__main__":
    raise SystemExit(main())
