"""The benchmark of processes: what it counts of its devices, what it prints, and its exit status."""

import sys
from dataclasses import dataclass, field

import pytest
from test_command_line import run

from benchmarks import processes
from benchmarks.processes import Bridge


@dataclass
class Heard:
    """What a device of the benchmark came to, on a process."""

    sid: str
    latencies_ms: list[float] = field(default_factory=lambda: [1.0, 1.0])
    gaps: int = 0
    repeats: int = 0
    unequal: int = 0


def judged(*devices, tokens=2):
    bridge = Bridge("any", "http://127.0.0.1:1", [], 1)
    bridge._judge(list(devices), tokens)
    return bridge


def test_devices_are_counted_by_the_process_that_their_session_names():
    assert judged(Heard("0.a"), Heard("1.b"), Heard("1.c")).at == {"0": 1, "1": 2}
    assert judged(Heard("of-one-process-alone")).at == {"0": 1}


@pytest.mark.parametrize(
    ("given", "lost", "wrong"),
    [({}, 0, 0), ({"latencies_ms": [1.0]}, 1, 0), ({"gaps": 1, "repeats": 2, "unequal": 3}, 0, 6)],
    ids=["all", "one lost", "wrong"],
)
def test_what_a_device_did_not_hear_once_and_in_order_is_counted(given, lost, wrong):
    bridge = judged(Heard("0.a", **given))
    assert (bridge.lost, bridge.wrong) == (lost, wrong)


@pytest.mark.parametrize(("heard", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_says_whether_all_was_heard(monkeypatch, heard, status):
    async def measured(_arguments):
        return heard

    monkeypatch.setattr(processes, "measure", measured)
    monkeypatch.setattr(sys, "argv", ["processes"])
    assert processes.main() == status


@pytest.mark.needs("redis-server")
async def test_it_prints_what_one_process_costs_what_its_share_and_what_two():
    tiny = ["--rooms", "2", "--devices", "2", "--seconds", "0.3", "--rounds", "1"]
    status, out, err = await run("benchmarks.processes", *tiny)
    assert status == 0, out + err
    assert out.startswith("2 rooms x 2 devices x 20 tokens/s x 0.3 s, 1 rounds each\n")
    assert out.count("lost 0, wrong 0") == 3
