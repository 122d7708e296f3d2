"""Turns as spans: one a turn, tied to the backend's work and to who asked; no word of what was said."""

import asyncio
import contextlib
import subprocess
import sys
import time

import aiohttp
import pytest
from aiohttp import web
from loopback import Client, running
from redis_server import redis_server

from bridge.app import App
from bridge.errors import SettingsError, SpansLost
from bridge.ports import Claim, Prompt, Taken
from bridge.profiles import Profile
from bridge.settings import Settings
from bridge.transcript import Transcript

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

import bridge.opentelemetry

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKER = f"00-{TRACE}-{SPAN}-01"
EVENTS = ["bridge.first_event", "bridge.first_delta", "bridge.first_kept", "bridge.first_chunk"]


class Spans(InMemorySpanExporter):
    """What was exported, as soon as it ended, by every process of the test."""

    def shutdown(self):
        pass

    @property
    def all(self):
        return self.get_finished_spans()

    async def one(self):
        async with asyncio.timeout(60):
            while not self.all:
                await asyncio.sleep(0.01)
        (span,) = self.all
        return span


@pytest.fixture
def spans(monkeypatch):
    spans = Spans()
    monkeypatch.setattr(bridge.opentelemetry, "exported", lambda _: SimpleSpanProcessor(spans))
    return spans


def name(span):
    trace_id, span_id = format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)
    return f"00-{trace_id}-{span_id}-{span.context.trace_flags:02x}"


def parent(span):
    return format_span_id(span.parent.span_id)


async def asked(client, room="room", **more):
    await client.call("join_room", {"roomId": room})
    assert (await client.call("send_message", {"roomId": room, "content": "hi", **more}))["ok"]


async def posted(address, **headers):
    body = {"roomId": "room", "content": "hi", "requestId": "r"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{address}/chat/messages", json=body, headers=headers) as answer,
    ):
        assert answer.status == 200
        return await answer.json()


async def test_a_turn_is_one_span_that_the_backends_call_is_a_part_of(script, spans):
    before_ns = time.time_ns()
    async with running(script, otel=True) as app, Client(app.address) as client:
        await asked(client, requestId="r-1")
        script.say("Hel")
        await client.until("ai_message_chunk")
        assert not spans.all
        await asyncio.sleep(0.2)
        script.say("lo")
        script.finish()
        await client.until("ai_message_end")
        span = await spans.one()
        await asked(client, requestId="r-1")  # a repeat: no turn
    assert len(spans.all) == 1
    assert (span.name, span.kind, span.parent) == ("chat", SpanKind.CLIENT, None)
    assert span.status.status_code is StatusCode.UNSET
    assert [each["traceparent"] for each in script.headers] == [name(span)]
    assert before_ns <= span.start_time < span.end_time <= time.time_ns()
    assert span.end_time - span.start_time >= 0.2e9
    assert [event.name for event in span.events] == EVENTS
    times = [span.start_time, *(event.timestamp for event in span.events), span.end_time]
    assert times == sorted(times)
    assert times[-1] - times[-2] >= 0.2e9
    attributes = dict(span.attributes)
    assert 0 < attributes.pop("gen_ai.response.time_to_first_chunk") < 60
    assert attributes.pop("bridge.turn.id")
    assert attributes.pop("server.port") == int(script.url.rpartition(":")[2])
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "default",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "server.address": "127.0.0.1",
        "bridge.request.id": "r-1",
        "bridge.room.id": "room",
        "bridge.message.id": "m-r-1",
        "bridge.deltas": 2,
        "bridge.chunks": 2,
        "bridge.backend_calls": 1,
        "bridge.taken_over": False,
        "bridge.differs": False,
    }


async def test_the_complete_call_is_a_part_of_its_turn_too(script, spans):
    off = running(script, otel=True, chat_streaming_enabled=False)
    async with off as app, Client(app.address) as client:
        await asked(client)
        span = await spans.one()
    assert span.attributes["gen_ai.request.stream"] is False
    assert [each["traceparent"] for each in script.headers] == [name(span)]


async def test_a_turn_that_fails_says_by_which_code(script, spans):
    script.url = "http://127.0.0.1:9"
    async with running(script, otel=True) as app, Client(app.address) as client:
        await asked(client)
        end = await client.until("ai_message_end")
        span = await spans.one()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == end["error"]["code"]
    assert span.attributes["gen_ai.response.finish_reasons"] == (end["finishReason"],)
    assert not span.events


async def test_a_post_in_the_backends_place_is_the_parent(script, spans):
    async with running(script, otel=True) as app:
        script.say("Hello")
        script.finish()
        await posted(app.address, traceparent=ASKER, tracestate="vendor=7")
        span = await spans.one()
    assert (format_trace_id(span.context.trace_id), parent(span)) == (TRACE, SPAN)
    assert script.headers[0]["traceparent"] == name(span)
    assert script.headers[0]["tracestate"] == "vendor=7"


async def test_what_names_no_trace_is_not_passed_on(script, spans):
    async with running(script, otel=True) as app:
        script.say("Hello")
        script.finish()
        await posted(app.address, traceparent="00-canary", tracestate="vendor=7")
        span = await spans.one()
    assert span.parent is None
    assert script.headers[0].getall("traceparent") == [name(span)]
    assert "tracestate" not in script.headers[0]


async def test_what_its_asker_does_not_sample_is_no_span_and_stays_one_trace(script, spans):
    async with running(script, otel=True) as app:
        script.say("Hello")
        script.finish()
        await posted(app.address, traceparent=f"00-{TRACE}-{SPAN}-00")
    assert not spans.all
    assert script.headers[0]["traceparent"].startswith(f"00-{TRACE}-")
    assert script.headers[0]["traceparent"].endswith("-00")


async def test_without_the_setting_the_askers_trace_goes_on_to_the_backend(script):
    async with running(script) as app:
        script.say("Hello")
        script.finish()
        await posted(app.address, traceparent=ASKER, tracestate="vendor=7")
    assert script.headers[0]["traceparent"] == ASKER
    assert script.headers[0]["tracestate"] == "vendor=7"


async def test_no_content_and_no_token_is_in_a_span(script, spans):
    async with running(script, otel=True) as app:
        script.say("canary-answer")
        script.finish()
        body = {"roomId": "room", "content": "canary-question", "user": "canary-user", "mood": "canary-more"}
        headers = {"Authorization": "Bearer canary", "Cookie": "sid=canary", "X-Tenant": "canary"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{app.address}/chat/messages", json=body, headers=headers) as answer,
        ):
            assert "canary-answer" in await answer.text()
        span = await spans.one()
    assert script.headers[0]["authorization"] == "Bearer canary"
    assert "canary" not in span.to_json()


async def test_a_turn_that_was_taken_over_is_a_span_beside_its_first_owners(script, spans):
    claim = Claim("t-9", Prompt("r-9", "room", "t-9", "hi"), True, "digest", 4, trace=ASKER)
    async with running(script, Profile(idempotent=True), otel=True) as app, Client(app.address) as client:
        await client.call("join_room", {"roomId": "room"})
        app.relay.take_over(Taken(2, claim, Transcript("t-9", "r-9"), "", stop=False))
        script.say("Hello")
        script.finish()
        await client.until("ai_message_end")
        span = await spans.one()
    (link,) = span.links
    assert format_span_id(link.context.span_id) == parent(span) == SPAN
    assert span.attributes["bridge.taken_over"]
    assert script.headers[0]["traceparent"] == name(span)


async def test_who_lost_a_turn_ends_its_span_and_says_so(script, spans):
    async with running(script, otel=True) as app, Client(app.address) as client:
        await asked(client)
        script.say("Hel")
        await client.until("ai_message_chunk")
        (turn_id,) = app.relay.owned
        app.relay.heard_of(turn_id, 99)
        span = await spans.one()
    assert span.attributes["bridge.fenced"]
    assert "gen_ai.response.finish_reasons" not in span.attributes
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.needs("redis-server")
async def test_two_processes_make_one_trace_of_a_turn(script, spans, tmp_path):
    profile = Profile(idempotent=True)
    with redis_server(tmp_path) as redis:
        chosen = {"otel": True, "redis_url": redis.url}
        async with running(script, profile, **chosen) as two, Client(two.address) as stays:
            await stays.call("join_room", {"roomId": "room"})
            async with running(script, profile, **chosen) as one, Client(one.address) as goes:
                await asked(goes)
                script.say("Hel")
                await stays.until("ai_message_chunk")
            await stays.until("ai_message_end")
    first, second = spans.all
    (link,) = second.links
    assert format_span_id(link.context.span_id) == format_span_id(first.context.span_id) == parent(second)
    assert first.context.trace_id == second.context.trace_id
    assert (first.attributes.get("bridge.fenced"), second.attributes["bridge.taken_over"]) == (True, True)
    assert [each["traceparent"] for each in script.headers] == [name(first), name(second)]


@contextlib.asynccontextmanager
async def collector(take, monkeypatch):
    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("NO_PROXY", "*")
    yield
    await runner.cleanup()


@contextlib.asynccontextmanager
async def one_turn(script, **chosen):
    async with running(script, otel=True, **chosen) as app, Client(app.address) as client:
        await asked(client)
        script.say("Hello")
        script.finish()
        await client.until("ai_message_end")
        yield app


async def test_spans_leave_to_the_collector_that_the_environment_names(script, monkeypatch):
    got = []

    async def take(request):
        got.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()

    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    async with collector(take, monkeypatch), one_turn(script):
        assert not got  # it leaves with others, here as the process goes down
    (resource,) = got[0].resource_spans
    (span,) = resource.scope_spans[0].spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "chat-stream-bridge"
    sent = script.headers[0]["traceparent"]
    assert sent.startswith(f"00-{span.trace_id.hex()}-{span.span_id.hex()}-")


async def test_the_environment_names_the_service(monkeypatch, spans, script):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat")
    async with one_turn(script):
        pass
    assert (await spans.one()).resource.attributes["service.name"] == "chat"


async def test_a_collector_that_takes_nothing_costs_no_turn_and_is_told_once(script, monkeypatch):
    asked_twice = asyncio.Event()
    calls = []

    async def refuse(_):
        calls.append(1)
        if len(calls) > 1:
            asked_twice.set()
        return web.Response(status=400)

    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    async with collector(refuse, monkeypatch), one_turn(script) as app:
        metrics = app.metrics
        async with Client(app.address) as client:
            while not asked_twice.is_set():
                await asked(client)
                script.say("Hello")
                script.finish()
                await client.until("ai_message_end")
                await asyncio.sleep(0.1)
        lines = metrics.text().decode().splitlines()
    told = [line for line in lines if line.startswith("bridge_faults_total{") and SpansLost.__name__ in line]
    assert told == [f'bridge_faults_total{{error="{SpansLost.__name__}"}} 1.0']


async def test_a_collector_that_hangs_does_not_hold_the_process(script, monkeypatch):
    async def hang(_):
        await asyncio.Event().wait()

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
    async with collector(hang, monkeypatch), one_turn(script) as app:
        async with asyncio.timeout(60):  # sooner than the exporter by itself
            await app._tracing.close()


def test_without_the_extra_the_setting_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "bridge.opentelemetry", None)
    with pytest.raises(SettingsError, match=r"unable to use BRIDGE_OTEL; the extra is missing.*\[otel\]"):
        App(Settings(otel=True), Profile())


async def test_a_variable_that_cannot_be_used_is_refused(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(SettingsError, match="unable to use BRIDGE_OTEL; an OTEL_ variable"):
        App(Settings(otel=True), Profile())


def test_without_the_setting_nothing_of_it_is_imported():
    code = (
        "import sys; sys.modules['opentelemetry'] = None;"  # redis-py would import it too
        "from bridge.app import App; from bridge.profiles import Profile;"
        "from bridge.settings import Settings; App(Settings(), Profile());"
        "print('bridge.opentelemetry' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "False"
