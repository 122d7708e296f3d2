"""`POST /admin/alerts` through a whole bridge, and the webhook that hears of it."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web
from loopback import running

from bridge import webhook
from bridge.changes import Edit, Reason
from bridge.facts import Happening

BEARER = {"Authorization": "Bearer secret"}
FIRING = {
    "version": "4",
    "status": "firing",
    "alerts": [{"status": "firing", "labels": {"alertname": "BridgeTurnsFail"}}],
}


async def post(bridge, payload, headers=BEARER, **how):
    how = how or {"json": payload}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{bridge.address}/admin/alerts", **how) as answer,
    ):
        return answer.status, await answer.json()


class Receiver:
    """A webhook's receiver that refuses as often as it is told to."""

    def __init__(self, refuses):
        self.refuses = refuses
        self.got = asyncio.Queue()
        self.calls = 0

    async def take(self, request):
        self.calls += 1
        if self.calls <= self.refuses:
            return web.Response(status=503)
        self.got.put_nowait(await request.json())
        return web.Response()


@contextlib.asynccontextmanager
async def receiver(refuses=0):
    made = Receiver(refuses)
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


async def test_an_alert_turns_streaming_off_once_and_the_webhook_hears_it(script, monkeypatch):
    monkeypatch.setattr(webhook, "PAUSES_S", (0.01, 0.01, 0.01))
    async with receiver(refuses=2) as hook, running(script, guard_webhook=hook.url) as bridge:
        assert await post(bridge, FIRING) == (200, {"firing": ["BridgeTurnsFail"], "pulled": True})
        assert await post(bridge, FIRING) == (200, {"firing": ["BridgeTurnsFail"], "pulled": False})
        assert not await bridge.flag.streaming("room", "")
        (change,) = (await bridge.flag.state()).history
        assert change.reason.who == "guard"
        assert change.reason.why.startswith("alerts that fire: BridgeTurnsFail")
        async with asyncio.timeout(60):
            told = await hook.got.get()
        assert (told["who"], told["value"], told["from"]["value"], told["kind"]) == (
            "guard",
            "off",
            "on",
            "trip",
        )
        assert told["text"] == "guard: streaming on -> off; alerts that fire: BridgeTurnsFail"
        assert (hook.calls, hook.got.qsize()) == (3, 0)
        assert "bridge_guard_trips_total 1.0" in bridge.metrics.text().decode()
        assert "bridge_guard_state 3.0" in bridge.metrics.text().decode()


async def test_a_webhook_that_never_answers_costs_nothing_but_a_count(script, monkeypatch):
    monkeypatch.setattr(webhook, "PAUSES_S", (0.01,))
    async with receiver(refuses=99) as hook, running(script, guard_webhook=hook.url) as bridge:
        await post(bridge, FIRING)
        async with asyncio.timeout(60):
            while "bridge_guard_webhooks_lost_total 1.0" not in bridge.metrics.text().decode():
                await asyncio.sleep(0.01)
        assert hook.calls == 2


async def test_what_waits_for_the_webhook_is_bounded():
    class Lost:
        def __init__(self):
            self.happenings, self.faults = [], []

        def happened(self, what, times=1):
            self.happenings += [what] * times

        def fault(self, error):
            self.faults.append(str(error))

    lost = Lost()
    hook = webhook.Webhook("http://127.0.0.1:9/secret", lost)
    for _ in range(webhook.WAITING_LIMIT + 3):
        hook.tell({})
    assert lost.happenings == [Happening.WEBHOOK_LOST] * 3
    assert not any("secret" in said for said in lost.faults)


@pytest.mark.parametrize(
    ("alerts", "firing"),
    [
        ([{"status": "resolved", "labels": {"alertname": "BridgeTurnsFail"}}], []),
        ([{"status": "firing", "labels": {"alertname": "SomethingElse"}}], []),
        (
            [
                {
                    "status": "firing",
                    "labels": {"alertname": "BridgeTurnsFail"},
                    "startsAt": "2020-01-01T00:00:00Z",
                }
            ],
            [],
        ),
    ],
    ids=["resolved", "of others", "older than the flag"],
)
async def test_other_alerts_pull_nothing(script, alerts, firing):
    async with running(script) as bridge:
        await bridge.flag.change(Edit(50), Reason("ann", ""))
        assert await post(bridge, {**FIRING, "alerts": alerts}) == (200, {"firing": firing, "pulled": False})
        assert (await bridge.flag.state()).rollout.value == 50


async def test_which_alerts_pull_is_a_setting_and_a_dry_run_pulls_nothing(script):
    alert = {**FIRING, "alerts": [{"status": "firing", "labels": {"alertname": "Mine"}}]}
    async with running(script, guard="dry-run", guard_alerts=("Mine",)) as bridge:
        assert await post(bridge, alert) == (200, {"firing": ["Mine"], "pulled": False})
        assert await post(bridge, FIRING) == (200, {"firing": [], "pulled": False})
        assert await bridge.flag.streaming("room", "")
        assert "bridge_guard_refrained_total 1.0" in bridge.metrics.text().decode()
    async with running(script, guard="off") as bridge:
        assert await post(bridge, FIRING) == (200, {"firing": ["BridgeTurnsFail"], "pulled": False})
        assert await bridge.flag.streaming("room", "")


@pytest.mark.parametrize(
    ("headers", "how", "status", "code"),
    [
        ({}, {"json": FIRING}, 401, "unauthorized"),
        ({"Authorization": "Bearer wrong"}, {"json": FIRING}, 401, "unauthorized"),
        (BEARER, {"data": "x"}, 415, "bad_type"),
        (BEARER, {"json": {"alerts": 7}}, 400, "bad_alerts"),
        (
            {**BEARER, "Content-Type": "application/json"},
            {"data": b'{"alerts": ['},
            400,
            "bad_alerts",
        ),
        ({**BEARER, "Content-Type": "application/json"}, {"data": b"[" * 100_000}, 400, "bad_alerts"),
    ],
    ids=str,
)
async def test_what_is_no_alert_of_ours_is_refused(script, headers, how, status, code):
    async with running(script) as bridge:
        got, said = await post(bridge, None, headers, **how)
        assert (got, said["error"]["code"]) == (status, code)
        assert await bridge.flag.streaming("room", "")


async def test_a_change_may_be_bound_to_the_version_it_was_decided_on(script):
    async with running(script) as bridge, aiohttp.ClientSession(headers=BEARER) as http:

        async def put(**said):
            async with http.put(f"{bridge.address}/admin/flag", json=said) as answer:
                return (await answer.json())["value"]

        assert await put(value=25, at="") == 25
        assert await put(value="on", at="") == 25, "it was changed meanwhile"
        version = (await bridge.flag.state()).version
        assert await put(value="on", at=version) == "on"
