"""`/metrics` through a whole bridge, and the files that name its figures."""

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest
from loopback import Client, running
from prometheus_client.parser import text_string_to_metric_families

from bridge.changes import Edit, Reason
from bridge.facts import Happening
from bridge.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = ("_bucket", "_sum", "_count")
NAMED = re.compile(r"\b(?:bridge|gen_ai)_[a-z_]+")


def existing():
    """Return the names of all figures as a query has them."""
    names = set()
    for family in Metrics().registry.collect():
        base = family.name
        match family.type:
            case "counter":
                names.add(f"{base}_total")
            case "info":
                names.add(f"{base}_info")
            case "histogram":
                names |= {base, *(base + suffix for suffix in SUFFIXES)}
            case _:
                names.add(base)
    return names


def named(text):
    return set(NAMED.findall(text))


@pytest.mark.parametrize("file", ["config/alerts.yml", "config/grafana.json"])
def test_every_figure_that_a_file_names_exists_and_is_documented(file):
    text = (ROOT / file).read_text("utf-8")
    documented = named((ROOT / "docs/metrics.md").read_text("utf-8"))
    assert named(text) <= existing()
    roots = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named(text)}
    assert roots <= documented


def test_every_figure_is_documented_and_nothing_else():
    documented = named((ROOT / "docs/metrics.md").read_text("utf-8"))
    ours = {name for name in existing() if not name.endswith(SUFFIXES) and not name.startswith("process_")}
    assert documented == ours


def test_every_figure_has_its_place_on_the_dashboard():
    shown = named((ROOT / "config/grafana.json").read_text("utf-8"))
    roots = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    ours = {name for name in existing() if not name.endswith(SUFFIXES) and not name.startswith("process_")}
    assert ours - roots == {"bridge_info"}


def test_the_limits_of_the_alerts_are_bounds_of_buckets():
    text = (ROOT / "config/alerts.yml").read_text("utf-8")
    limits = re.findall(r"\((\w+)_bucket\S*\[5m\]\)\)\) > ([\d.]+)", text.replace("rate(", "("))
    assert len(limits) >= 3
    for name, limit in limits:
        assert float(limit) in bounds(name), name


def bounds(name):
    metrics = Metrics()
    return [
        bound
        for histogram in vars(metrics).values()
        if getattr(histogram, "_name", "") == name
        for bound in histogram._kwargs["buckets"]
    ]


def test_the_files_can_be_read():
    yaml = pytest.importorskip("yaml")
    (group,) = yaml.safe_load((ROOT / "config/alerts.yml").read_text("utf-8"))["groups"]
    assert all({"alert", "expr", "labels", "annotations"} <= set(rule) for rule in group["rules"])
    panels = json.loads((ROOT / "config/grafana.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_happening_is_counted():
    metrics = Metrics()
    for what in Happening:
        metrics.happened(what, 2)
    text = metrics.text().decode()
    assert len(re.findall(r"_total 2\.0$", text, re.MULTILINE)) == len(Happening)


async def figures(bridge):
    async with aiohttp.ClientSession() as http, http.get(f"{bridge.address}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = await answer.text()
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_turn_is_counted_once_and_measured_hop_by_hop(script):
    async with running(script) as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 1})
        await client.call("send_message", {"roomId": 1, "content": "x", "requestId": "r-1"})
        await client.until("ai_message_start")
        assert (await figures(bridge))["bridge_turns_running",] == 1
        for number, delta in enumerate("abc", 1):
            script.say(delta)
            await client.until("ai_message_chunk", number)
        script.finish()
        await client.until("ai_message_end")
        await client.call("resume", {"roomId": 1, "messageId": "m-r-1", "seq": 1})
        await client.call("resume", {"roomId": 1, "messageId": "nobody", "seq": 1})
        await bridge.flag.change(Edit(25), Reason())
        async with asyncio.timeout(60):
            while not (seen := await figures(bridge)).get(("bridge_turns_total", "stop", "streaming")):
                await asyncio.sleep(0.01)
    expected = {
        ("bridge_turns_total", "stop", "streaming"): 1,
        ("bridge_turns_running",): 0,
        ("bridge_devices",): 1,
        ("bridge_deltas_total",): 3,
        ("bridge_chunks_total",): 3,
        ("bridge_backend_calls_total",): 1,
        ("bridge_turns_differing_total",): 0,
        ("gen_ai_client_operation_time_to_first_chunk_seconds_count",): 1,
        ("bridge_time_to_first_chunk_seconds_count", "backend"): 1,
        ("bridge_time_to_first_chunk_seconds_count", "journalled"): 1,
        ("bridge_time_to_first_chunk_seconds_count", "written"): 1,
        ("bridge_turn_duration_seconds_count", "streaming"): 1,
        ("bridge_resumes_total",): 1,
        ("bridge_resumes_unknown_total",): 1,
        ("bridge_flag_percent",): 25,
        ("bridge_flag_changes_total",): 1,
        ("bridge_store_up",): 1,
        ("bridge_draining",): 0,
    }
    assert {name: seen[name] for name in expected} == expected
    hops = ["backend", "journalled", "written"]
    sums = [seen["bridge_time_to_first_chunk_seconds_sum", hop] for hop in hops]
    assert sums == sorted(sums)
    assert sums[0] <= seen["gen_ai_client_operation_time_to_first_chunk_seconds_sum",] <= sums[1]


async def test_the_complete_path_and_its_errors_are_counted_apart(script):
    async with running(script, chat_streaming_enabled=False) as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 1})
        await client.call("send_message", {"roomId": 1, "content": "x"})
        await client.until("new_message", 2)
        async with asyncio.timeout(60):
            while not (seen := await figures(bridge)).get(("bridge_turns_total", "stop", "complete")):
                await asyncio.sleep(0.01)
        assert ("bridge_time_to_first_chunk_seconds_count", "written") not in seen
        assert seen["bridge_flag_percent",] == 0


async def test_no_payload_room_or_token_is_a_label(script):
    async with running(script, admin_token="canary") as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": "canary"})
        await client.call("send_message", {"roomId": "canary", "content": "canary", "requestId": "canary"})
        script.finish()
        await client.until("ai_message_end")
        assert "canary" not in bridge.metrics.text().decode()
