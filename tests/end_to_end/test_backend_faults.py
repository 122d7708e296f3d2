"""A backend that misbehaves in every way: how each turn ends, when, and after how many calls."""

import resource

import pytest
from end_to_end_apps import Device, backend_at, running, stored

from backend_stub.model import Pace

TOKENS = 12
BUSY_S = 20.0
"""What a busy machine may add to a pause."""
NO_FIRST, NO_NEXT = {"first_delta_s": 0.6}, {"stall_s": 0.5}
"""The deadline that is to pass; a machine that stands still would pass the other for the backend."""


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(TOKENS, 500, 0.01)) as backend:
        yield backend


# fault: (finish reason, error code, the deadline that ends it, whether text was shown), where a call is
# never repeated
ONCE = {
    "refuse": ("error", "backend_cut", {}, False),
    "status-500": ("error", "backend_unavailable", {}, False),
    "status-503": ("error", "backend_unavailable", {}, False),
    "status-429": ("error", "backend_unavailable", {}, False),
    "hang": ("timeout", "backend_timeout", NO_FIRST, False),
    "silent": ("timeout", "backend_timeout", NO_FIRST, False),
    "json-error": ("error", "backend_malformed", {}, False),
    "redirect": ("error", "backend_unavailable", {}, False),
    "error;after=5": ("error", "backend_failed", {}, True),
    "error;after=0": ("error", "backend_failed", {}, False),
    "stall;after=5": ("interrupted", "backend_stalled", NO_NEXT, True),
    "stall;after=0": ("timeout", "backend_timeout", NO_FIRST, False),
    "cut;after=5": ("interrupted", "backend_cut", {}, True),
    "cut;after=0": ("error", "backend_cut", {}, False),
    "malformed-many;after=5": ("error", "backend_malformed", {}, True),
    "no-end": ("interrupted", "backend_cut", {}, True),
    "huge;after=5": ("error", "backend_malformed", {}, True),
}
HARMLESS = ["malformed", "after-end", "duplicate", "bad-utf8", "bom", "surrogates", "hostile"]
# fault: calls, finish reason, where the backend knows repeated requests
DEADLINES = {fault: deadline for fault, (_, _, deadline, _) in ONCE.items()}
TWICE = {
    "refuse;times=1": (2, "stop"),
    "status-503;times=1": (2, "stop"),
    "status-429;times=1": (2, "stop"),
    "cut;after=0;times=1": (2, "stop"),
    "cut;after=5;times=1": (2, "stop"),
    "no-end;times=1": (2, "stop"),
    "cut;after=5": (2, "interrupted"),
    "status-503": (2, "error"),
    "refuse": (2, "error"),
    "hang": (1, "timeout"),
    "stall;after=5": (1, "interrupted"),
    "error;after=5": (1, "error"),
}


async def ended(backend, device):
    """Ask; return the end, and how many calls the backend got."""
    await device.send("r-1", "Hello")
    end = await device.end_of("r-1")
    return end, backend.tally.calls["r-1"].posts


@pytest.mark.parametrize("fault", ONCE)
async def test_a_fault_ends_the_turn_as_it_should_in_time_and_after_one_call(backend, fault):
    reason, code, deadline, shown = ONCE[fault]
    async with running(backend.url, "default", **deadline) as app, Device.at(app.address) as device:
        backend.fault = fault
        end, calls = await ended(backend, device)
        assert (end["finishReason"], end["error"]["code"], calls) == (reason, code, 1)
        assert device.text_of("r-1") == end["content"]
        assert bool(end["content"]) == shown
        backend.fault = "none"
        await device.send("r-2", "Hello")  # the next turn is none the worse for it
        assert (await device.end_of("r-2"))["finishReason"] == "stop"


@pytest.mark.parametrize("fault", HARMLESS)
async def test_a_fault_that_costs_no_text_is_none(backend, fault):
    async with running(backend.url, "default") as app, Device.at(app.address) as device:
        backend.fault = fault
        end, calls = await ended(backend, device)
        row = await stored(backend, "r", "r-1")
        assert (end["finishReason"], calls) == ("stop", 1)
        assert device.text_of("r-1") == end["content"]
        assert end["content"].replace("\ufffd\ufffd(", "") == row["content"]


@pytest.mark.parametrize("fault", TWICE)
async def test_a_backend_that_knows_repeats_is_called_twice_at_most(backend, fault):
    calls, reason = TWICE[fault]
    deadline = DEADLINES.get(fault, {})
    async with running(backend.url, "reference", **deadline) as app, Device.at(app.address) as device:
        backend.fault = fault
        end, made = await ended(backend, device)
        assert (end["finishReason"], made) == (reason, calls)
        assert device.text_of("r-1") == end["content"]
        assert backend.tally.calls["r-1"].answers <= 1
        if reason == "stop":
            row = await stored(backend, "r", "r-1")
            assert (end["content"], row["status"]) == (row["content"], "success")


async def test_where_the_stream_is_none_the_complete_call_answers(backend):
    async with running(backend.url, "reference") as app, Device.at(app.address) as device:
        backend.fault = "json-error"
        await device.send("r-1", "Hello")
        row = await stored(backend, "r", "r-1")
        answer = await device.answer_of("r-1")
        assert (answer["content"], backend.tally.calls["r-1"].posts) == (row["content"], 2)
        assert not device.of("ai_message_end", "r-1")


async def test_a_closed_port_ends_the_turn_before_any_deadline(backend):
    url = backend.url
    await backend.stop()
    async with running(url, "default") as app, Device.at(app.address) as device:
        await device.send("r-1", "Hello")
        end = await device.end_of("r-1")
        assert (end["finishReason"], end["error"]["code"]) == ("error", "backend_unavailable")


async def test_a_huge_event_takes_no_memory_and_no_time_of_others(backend):
    async with running(backend.url, "default") as app, Device.at(app.address) as device:
        await device.send("r-1", "warm up", tokens=50)
        await device.end_of("r-1")
        await device.send("r-2", "beside", tokens=100, tokensPerSecond=100)
        await device.until("ai_message_chunk", "r-2")
        backend.fault = "huge;bytes=200000000"
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await device.send("r-3", "huge")
        end = await device.end_of("r-3")
        assert end["error"]["code"] == "backend_malformed"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 8 * 1024
        assert (await device.end_of("r-2"))["finishReason"] == "stop"
        assert device.longest_gap_s("r-2") < BUSY_S
