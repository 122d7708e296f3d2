"""The flag from an OpenFeature provider: the SDK's own in memory, flagd's on a file, and bad ones."""

import asyncio
import json
import threading

import aiohttp
import pytest
from loopback import running

from bridge.changes import Edit, Reason
from bridge.errors import FlagRefused, SettingsError, StoreUnavailable
from bridge.rollout import Rollout

pytest.importorskip("openfeature", reason="the extra openfeature is not installed")

from openfeature.exception import GeneralError
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from bridge.openfeature import FLAG, OpenFeatureFlag, provider_named


def vip_room_and_its_boss(flag, context):
    streams = context.targeting_key == "vip" or context.attributes["user"] == "boss"
    return FlagResolutionDetails(value=flag.variants["on" if streams else "off"])


VARIANTS = {"on": True, "off": False}
HERE = InMemoryProvider({FLAG: InMemoryFlag("off", VARIANTS, context_evaluator=vip_room_and_its_boss)})


class Faulty(InMemoryProvider):
    """Does what ``fault`` does instead of an answer."""

    def __init__(self, fault=None, at_start=None):
        super().__init__({})
        self.fault, self.at_start = fault, at_start
        self.threads = set()

    def initialize(self, _):
        if self.at_start is not None:
            self.at_start()

    def resolve_boolean_details(self, default_value, **_):
        self.threads.add(threading.current_thread())
        self.fault()
        return FlagResolutionDetails(value=not default_value)


def broken():
    raise GeneralError("it is broken")


class Opened:
    def __init__(self):
        self.failures = []
        self.flags = []

    async def __call__(self, provider, default="on"):
        flag = OpenFeatureFlag(provider, Rollout(default), self.failures.append)
        self.flags.append(flag)
        await flag.start()
        return flag


@pytest.fixture
async def opened():
    made = Opened()
    yield made
    for flag in made.flags:
        await flag.close()


async def test_a_provider_decides_by_room_and_user(opened):
    flag = await opened(HERE)
    asked = [("vip", ""), ("room", ""), ("room", "boss"), (42, "")]
    assert [await flag.streaming(*each) for each in asked] == [True, False, True, False]
    assert not opened.failures


@pytest.mark.parametrize("default", ["on", "off"])
async def test_where_a_provider_says_nothing_the_default_holds_and_it_is_told_once(opened, default):
    for provider in (InMemoryProvider({}), Faulty(broken)):
        flag = await opened(provider, default)
        for _ in range(3):
            assert await flag.streaming("room", "") == (default == "on")
    assert [str(error).rpartition(" ")[2] for error in opened.failures] == ["FLAG_NOT_FOUND", "GENERAL"]


async def test_a_provider_that_hangs_holds_neither_the_loop_nor_a_turn_for_long(opened):
    release = threading.Event()
    provider = Faulty(lambda: release.wait(200))
    flag = await opened(provider, "off")
    try:
        async with asyncio.timeout(60):
            asked = [flag.streaming(f"room-{number}", "") for number in range(200)]
            assert await asyncio.gather(*asked) == [False] * 200
        assert threading.current_thread() not in provider.threads
    finally:
        release.set()


async def test_a_provider_that_is_not_ready_is_a_fault_and_the_default(opened):
    with pytest.raises(StoreUnavailable, match="not ready"):
        await opened(Faulty(broken, at_start=broken))
    assert await opened.flags[0].streaming("room", "")


async def test_it_is_changed_where_the_provider_has_it(opened):
    flag = await opened(HERE)
    assert (await flag.state()).source == "InMemoryProvider"
    with pytest.raises(FlagRefused, match="InMemoryProvider decides"):
        await flag.change(Edit("off"), Reason())


@pytest.mark.parametrize("named", ["nowhere:at", "json", "json:nothing", "json:dumps", "bridge.ports:Flag"])
def test_what_is_no_provider_is_a_wrong_setting(named):
    with pytest.raises(SettingsError, match="BRIDGE_FLAG_PROVIDER"):
        provider_named(named)


def test_a_provider_is_named_by_itself_or_by_what_makes_it():
    assert provider_named(f"{__name__}:HERE") is HERE
    assert isinstance(provider_named(f"{__name__}:Faulty"), Faulty)


async def test_a_bridge_asks_its_provider(script):
    async with running(script, flag_provider=f"{__name__}:HERE") as bridge:
        assert await bridge.flag.streaming("vip", "")
        assert not await bridge.flag.streaming("room", "")
        bearer = {"Authorization": "Bearer secret"}
        async with aiohttp.ClientSession(headers=bearer) as http:
            async with http.get(f"{bridge.address}/admin/flag") as answer:
                assert (await answer.json())["source"] == "InMemoryProvider"
            async with http.put(f"{bridge.address}/admin/flag", json={"value": "off"}) as answer:
                assert answer.status == 400


async def test_flagd_on_a_file_is_a_provider_and_a_change_of_the_file_is_obeyed(
    opened, tmp_path, monkeypatch
):
    pytest.importorskip("openfeature.contrib.provider.flagd", reason="flagd's provider is not installed")
    file = tmp_path / "flags.json"
    monkeypatch.setenv("FLAGD_RESOLVER", "file")
    monkeypatch.setenv("FLAGD_OFFLINE_FLAG_SOURCE_PATH", str(file))
    monkeypatch.setenv("FLAGD_OFFLINE_POLL_MS", "100")

    def write(rule):
        file.write_text(
            json.dumps({"flags": {FLAG: {"state": "ENABLED", "variants": VARIANTS, **rule}}}), "utf-8"
        )

    write({"defaultVariant": "off", "targeting": {"if": [{"==": [{"var": "targetingKey"}, "vip"]}, "on"]}})
    flag = await opened(provider_named("openfeature.contrib.provider.flagd:FlagdProvider"))
    assert await flag.streaming("vip", "")
    assert not await flag.streaming("room", "")
    write({"defaultVariant": "on"})
    async with asyncio.timeout(60):
        while not await flag.streaming("room", ""):
            await asyncio.sleep(0.05)
    assert not opened.failures
