"""The Socket.IO Admin UI: off unless wanted, for who knows the password, figures only, read only."""

import asyncio
import json

import aiohttp
import pytest
import socketio
from loopback import Client, running

from bridge.errors import SettingsError
from bridge.settings import Settings

KNOWN = {"username": "ops", "password": "canary-password"}
ON = {"admin_ui": True, "admin_ui_user": "ops", "admin_ui_password": KNOWN["password"], "handshake_s": 0.5}


class Page:
    """The Admin UI's client."""

    def __init__(self):
        self.heard = asyncio.Queue()
        self.http = aiohttp.ClientSession()
        self.client = socketio.AsyncClient(reconnection=False, http_session=self.http)
        self.client.on("*", lambda name, *data: self.heard.put_nowait((name, data)), namespace="/admin")
        self.gone = asyncio.Event()
        self.client.on("disconnect", lambda _: self.gone.set(), namespace="/admin")

    async def look(self, address, auth, transport="websocket"):
        await self.client.connect(
            address, auth=auth, namespaces=["/admin"], transports=[transport], wait_timeout=60
        )

    async def until(self, wanted):
        async with asyncio.timeout(60):
            while True:
                name, data = await self.heard.get()
                if name == wanted:
                    return data


@pytest.fixture
async def page():
    page = Page()
    yield page
    await page.client.disconnect()
    await page.http.close()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "stock"])
async def test_who_knows_the_password_sees_figures_for_longer_than_a_handshake(script, page, transport, fast):
    async with running(script, **ON, fast_path=fast) as app, Client(app.address) as device:
        await page.look(app.address, KNOWN, transport)
        (features,) = await page.until("config")
        assert features == {"supportedFeatures": ["AGGREGATED_EVENTS"]}
        (first,) = await page.until("server_stats")
        (stats,) = await page.until("server_stats")
        assert stats["clientsCount"] == 2
        assert {"name": "/", "socketsCount": 1} in stats["namespaces"]
        assert first["serverId"] == stats["serverId"]
        assert (await device.call("join_room", {"roomId": "r"}))["ok"]


async def test_it_sees_no_event_payload_or_header(script, page):
    async with running(script, **ON) as app, Client(f"{app.address}?token=canary-query") as device:
        await page.look(app.address, KNOWN)
        await device.call("join_room", {"roomId": "canary-room"})
        asked = {"roomId": "canary-room", "requestId": "canary-request", "content": "canary-content"}
        await device.call("send_message", asked)
        script.say("canary-text")
        script.finish()
        await device.until("ai_message_end")
        async with asyncio.timeout(60):
            seen = [await page.heard.get() for _ in range(4)]
        assert {name for name, _ in seen} == {"config", "server_stats"}
        assert "canary" not in json.dumps(seen)


@pytest.mark.parametrize(
    "auth",
    [None, {}, {**KNOWN, "password": "x"}, {**KNOWN, "username": "x"}, {"username": None, "password": [1]}],
    ids=str,
)
async def test_a_stranger_is_refused(script, page, auth):
    async with running(script, **ON) as app:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await page.look(app.address, auth)


async def test_it_is_closed_unless_wanted(script, page):
    async with running(script) as app:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await page.look(app.address, KNOWN)


@pytest.mark.parametrize("event", ["emit", "join", "leave", "_disconnect", "send_message"])
async def test_who_looks_may_do_nothing(script, page, event):
    async with running(script, **ON) as app, Client(app.address) as device:
        await page.look(app.address, KNOWN)
        await page.client.emit(event, ("/", "r", "new_message", {}), namespace="/admin")
        async with asyncio.timeout(60):
            await page.gone.wait()
        assert (await device.call("join_room", {"roomId": "r"}))["ok"]
        assert device.heard == []


async def test_two_servers_in_one_process_do_not_disturb_each_other(script, page):
    async with running(script, **ON), running(script, **ON) as app:
        await page.look(app.address, KNOWN, "polling")
        await page.until("server_stats")


@pytest.mark.parametrize("missing", ["admin_ui_user", "admin_ui_password"])
def test_without_credentials_it_is_refused(missing):
    with pytest.raises(SettingsError, match="BRIDGE_ADMIN_UI_USER and BRIDGE_ADMIN_UI_PASSWORD"):
        Settings(**{**ON, missing: ""})
    assert KNOWN["password"] not in repr(Settings(**ON))
