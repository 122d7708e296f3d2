"""The benchmark of fan-out: what its devices count, what it prints, and its exit status."""

import json
import sys

import pytest
from test_command_line import run

from benchmarks import fanout
from benchmarks.crowd import Device, Tally
from benchmarks.load import Load
from benchmarks.window import Bench, Reading, Row, row_of

OPENED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Transport:
    """Keeps what was written."""

    def __init__(self):
        self.written = []

    def write(self, data):
        self.written.append(data)

    def close(self):
        pass


def frame(text):
    payload = text.encode()
    head = (
        bytes((0x81, len(payload))) if len(payload) < 126 else b"\x81\x7e" + len(payload).to_bytes(2, "big")
    )
    return head + payload


def chunk(*numbers):
    said = {
        "requestId": "r-with-a-name-so-long-that-a-frame-has-two-bytes-of-length",
        "roomId": "1",
        "seq": 1,
    }
    delta = "".join(f"{number}:1 " for number in numbers)
    return frame("42" + json.dumps(["ai_message_chunk", {**said, "messageId": "m", "delta": delta}]))


def end(finish_reason="stop"):
    return frame(f'42["ai_message_end",{{"finishReason":"{finish_reason}"}}]')


def device():
    made = Device("http://127.0.0.1:1", "1", Tally())
    made.connection_made(Transport())
    return made


async def test_devices_count_the_same_wherever_reads_are_cut():
    whole = OPENED + frame('0{"sid":"s"}') + chunk(0) + frame("2") + chunk(1, 2) + end()
    for cut in range(len(whole)):
        heard = device()
        for part in (whole[:cut], whole[cut:]):
            heard.data_received(part)
        heard.leave(3)
        assert heard.ended.is_set()
        tally = heard._tally
        assert (len(tally.latencies_ns), tally.merged, tally.lost, tally.repeated) == (3, 1, 0, 0)


@pytest.mark.parametrize(
    ("chunks", "lost", "repeated"),
    [([(0,), (2,)], 1, 0), ([(0,), (0, 1), (2,)], 0, 1), ([(0,), (1,)], 1, 0), ([], 3, 0)],
    ids=["a gap", "a repeat", "no last one", "nothing"],
)
async def test_what_is_missing_or_comes_twice_is_counted(chunks, lost, repeated):
    heard = device()
    heard.data_received(OPENED + b"".join(chunk(*numbers) for numbers in chunks) + end())
    heard.leave(3)
    assert (heard._tally.lost, heard._tally.repeated) == (lost, repeated)


@pytest.mark.parametrize(("ends", "failed"), [([end()], 0), ([end("timeout")], 1), ([], 1)])
async def test_an_answer_that_did_not_end_well_has_failed(ends, failed):
    heard = device()
    heard.data_received(OPENED + b"".join(ends))
    heard.leave(0)
    assert heard._tally.failed == failed


def row(**given):
    seen = {"deliveries": 80, "cpu_s": 0.01, "generator_s": 0.01, "p50_ms": 1.0, "p99_ms": 2.0, "merged": 0}
    return Row(Load(1, 1, 20.0, 1.0), **{**seen, "lost": 0, "repeated": 0, "failed": 0, **given})


@pytest.mark.parametrize(
    ("given", "status"), [({}, 0), ({"lost": 1}, 1), ({"repeated": 1}, 1), ({"failed": 1}, 1)]
)
def test_the_exit_status_says_whether_every_token_was_heard_once(monkeypatch, capsys, given, status):
    async def measured(_arguments, report):
        report.fanout.append(row(**given))

    monkeypatch.setattr(fanout, "measure", measured)
    monkeypatch.setattr(sys, "argv", ["fanout", "--json"])
    assert fanout.main() == status
    (record,) = json.loads(capsys.readouterr().out)["fanout"]
    assert (record["lost"], record["repeated"]) == (given.get("lost", 0), given.get("repeated", 0))


def test_what_was_written_in_the_window_and_heard_behind_it_is_as_late_as_it_was():
    ms = 1_000_000
    tally = Tally(written_ns=[0, 2 * ms, 3 * ms, 9 * ms], latencies_ns=[500 * ms, ms, 800 * ms, 900 * ms])
    before, after = Reading(ms, 1, 0, 0.0, 0.0), Reading(5 * ms, 2, 0, 0.1, 0.2)
    seen = row_of(Load(1, 1, 20.0, 1.0), tally, before, after)
    assert seen.deliveries == 1
    assert 1 < seen.p50_ms < 800 <= seen.p99_ms


def test_a_row_is_full_by_either_core():
    assert not row().is_full
    assert row(cpu_s=0.98).is_full
    assert row(generator_s=0.95).is_full


class Loaded(Bench):
    """Sees given rows."""

    def __init__(self, *rows):
        self.rows = list(rows)

    async def measure(self, _load):
        return self.rows.pop(0)


@pytest.mark.parametrize(
    ("rows", "left", "shown"),
    [
        ([row(), row()], 1, row()),
        ([row(p99_ms=300.0), row(), row()], 1, row()),
        ([row(p99_ms=300.0), row(p99_ms=200.0), row(p99_ms=400.0)], 0, row(p99_ms=200.0)),
        ([row(p99_ms=300.0, cpu_s=1.0), row()], 1, row(p99_ms=300.0, cpu_s=1.0)),
        ([row(p99_ms=300.0), row(p99_ms=400.0, lost=1), row()], 1, row(p99_ms=400.0, lost=1)),
    ],
    ids=["soon", "late once", "late", "full", "lossy"],
)
async def test_what_is_late_is_measured_again_unless_a_core_is_full_and_no_loss_is_hidden(rows, left, shown):
    bench = Loaded(*rows)
    assert await bench.measure_patiently(Load(1, 1, 20.0, 1.0), 100.0) == shown
    assert len(bench.rows) == left


@pytest.mark.needs("redis-server")
async def test_it_prints_a_row_for_each_load_and_draws_them(tmp_path):
    picture = tmp_path / "fanout.svg"
    tiny = ["--seconds", "0.3", "--devices", "2", "--answers", "2", "--picture", str(picture)]
    status, out, err = await run("benchmarks.fanout", *tiny)
    assert status == 0, out + err
    lines = out.splitlines()
    assert lines[2].startswith("again: python -m benchmarks.fanout --seconds 0.3")
    rows = [line.split() for line in lines if line.strip()[:1].isdecimal() and " x " in line]
    assert [(cells[0], cells[-2:]) for cells in rows] == [(n, ["0", "0"]) for n in ("2", "2")]
    assert picture.read_text("utf-8").startswith("<svg")
