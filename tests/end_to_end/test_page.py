"""The page in headless Chromium."""

import re
import shutil

import pytest

from backend_stub.model import Pace
from bridge.changes import Edit, Reason
from tests.held_model import GrowingModel

pytestmark = pytest.mark.needs("chromium")
api = pytest.importorskip("playwright.async_api", reason="the extra e2e (playwright) is not installed")
expect = api.expect
expect.set_options(timeout=60_000)  # a busy machine stalls; what is awaited is an event, not a time

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


REMEMBER = """(link) => new MutationObserver(() => (link.dataset.was += link.textContent + " "))
    .observe(link, { childList: true })"""
"""Writes down what a link has said: it may be back sooner than one can look."""


GROWING, WHOLE = (1, 2, 3, 4), 5
"""Socket.IO, WebSocket, SSE and AI SDK hear the answer grow; the legacy device is told of it once."""
ALL = (*GROWING, WHOLE)


@pytest.fixture
async def browser():
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser, bridge):
    page = await browser.new_page()
    page.set_default_timeout(60_000)
    page.failures = []
    page.on("pageerror", lambda error: page.failures.append(str(error)))
    await page.goto(f"{bridge.address}/")
    await all_connected(page)
    yield page
    assert not page.failures


@pytest.fixture
def growing(backend):
    """Gives the backend's model, whose answer grows until the test ends it."""
    backend._provider = GrowingModel()
    return backend._provider


async def all_connected(page, **options):
    for number in ALL:
        await expect(device(page, number).locator(".link")).to_have_text("connected", **options)


async def all_equal(page, numbers=ALL, **options):
    """Wait until the devices have the whole answer; it is the same text."""
    for number in numbers:
        await expect(answer(page, number)).to_have_attribute("data-state", "done", **options)
    texts = {await text(page, number) for number in numbers}
    assert len(texts) == 1
    return texts.pop()


async def text(page, number):
    return await answer(page, number).locator(".grown").text_content()


def device(page, number):
    return page.locator(f'[data-device="{number}"]')


def answer(page, number):
    return device(page, number).locator('[data-role="assistant"]').last


async def ask(page, number, text):
    await device(page, number).locator("input").fill(text)
    await device(page, number).locator("input").press("Enter")


async def test_an_answer_grows_behind_every_door_and_comes_whole_to_a_client_of_today(page, growing):
    await ask(page, 1, "안녕, page")
    await expect(device(page, 1).locator('[data-role="user"] .grown')).to_have_text("안녕, page")
    for number in GROWING:
        await expect(answer(page, number)).to_have_attribute("data-state", "streaming")
    seen = await text(page, 2)
    first = await answer(page, 2).locator(".grown").evaluate_handle("grown => grown.firstChild")
    assert await device(page, WHOLE).locator('[data-role="assistant"]').count() == 0
    growing.ends.set()
    assert (await all_equal(page)).startswith(seen)
    assert await first.evaluate("node => node.isConnected")  # it grew, and was not written anew
    for number in ALL:
        await expect(device(page, number).locator('[data-role="user"]')).to_have_count(1)
        await expect(answer(page, number)).to_have_attribute("data-completion", re.compile(r"\d+"))
        await expect(device(page, number).locator("[data-typing]")).to_be_hidden()
    await expect(figure(page, "equal")).to_have_text("5 of 5 equal")
    await expect(figure(page, "first")).to_have_text(re.compile(r"\d+ ms"))
    await expect(figure(page, "rate")).to_have_text(re.compile(r"\d+\.\d"))
    ttft_ms = int(await answer(page, 1).get_attribute("data-ttft"))
    assert ttft_ms < int(await answer(page, 1).get_attribute("data-completion"))


def figure(page, name):
    return page.locator(f'[data-figure="{name}"]')


@pytest.mark.parametrize("pace", [Pace(tokens=5)], ids=["short answers"])
async def test_every_door_asks(page):
    answered = set()
    for asker in ALL:
        await ask(page, asker, "x")
        await expect(device(page, asker).locator('[data-role="assistant"]')).to_have_count(len(answered) + 1)
        answered.add(await all_equal(page))
    assert len(answered) == len(ALL)


async def test_the_typing_indicator_shows_until_the_first_text(page, backend):
    backend.fault = "hang"
    await ask(page, 1, "x")
    for number in (1, 2, 3):
        await expect(device(page, number).locator("[data-typing]")).to_be_visible()
    await device(page, 2).locator("[data-action=stop]").click()
    await expect(device(page, 1).locator("[data-typing]")).to_be_hidden()


@pytest.mark.usefixtures("growing")
async def test_stop_keeps_the_text_shown_so_far(page):
    await ask(page, 1, "x")
    for number in GROWING:
        await expect(answer(page, number).locator(".grown")).not_to_be_empty()
    await device(page, 4).locator("[data-action=stop]").click()
    await all_equal(page)
    for number in GROWING:
        await expect(answer(page, number).locator(".facts")).to_contain_text("cancelled")


async def test_dropped_devices_come_back_and_have_the_same_text(page, growing):
    await ask(page, 1, "x")
    for number in GROWING:
        await expect(answer(page, number).locator(".grown")).not_to_be_empty()
        link = device(page, number).locator(".link")
        await link.evaluate(REMEMBER)
        await device(page, number).locator("[data-action=drop]").click()
        await expect(link).to_have_attribute("data-was", re.compile("reconnecting"))
    await expect(figure(page, "resumes")).to_have_text("4")
    await expect(figure(page, "repaired")).to_have_text("4")
    growing.ends.set()
    await all_equal(page)


async def test_a_reload_in_mid_stream_catches_up(page, growing):
    await ask(page, 1, "x")
    await expect(answer(page, 1).locator(".grown")).not_to_be_empty()
    await page.reload()
    await all_connected(page)
    await expect(answer(page, 1)).to_have_attribute("data-state", "streaming")
    growing.ends.set()
    await all_equal(page)


async def test_a_device_that_is_added_catches_up_and_one_that_is_removed_is_gone(page, growing):
    await device(page, 2).locator("[data-action=remove]").click()
    await expect(page.locator(".device")).to_have_count(4)
    await ask(page, 1, "x")
    await expect(answer(page, 1).locator(".grown")).not_to_be_empty()
    await page.get_by_label("Device", exact=True).select_option("SSE")
    await page.get_by_role("button", name="Add").click()
    await expect(device(page, 2).locator(".door")).to_have_text("SSE")
    await expect(device(page, 2).locator("input")).to_be_focused()
    await all_connected(page)
    growing.ends.set()
    await all_equal(page)
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_role("button", name="Add")).to_be_disabled()


async def test_as_many_streams_as_a_browser_opens_leave_one_to_ask_with(page, growing):
    add, kind = page.get_by_role("button", name="Add"), page.get_by_label("Device", exact=True)
    for number in (1, 2, 5):
        await device(page, number).locator("[data-action=remove]").click()
    await kind.select_option("AI SDK")
    for number in (1, 2, 5):
        await add.click()
        await expect(device(page, number).locator(".door")).to_have_text("AI SDK")
    await expect(add).to_be_disabled()
    await kind.select_option("WebSocket")
    await add.click()
    await all_connected(page)
    for asker, asked in ((1, 1), (3, 2)):
        await ask(page, asker, "x")
        await expect(device(page, 6).locator('[data-role="user"]')).to_have_count(asked)
    growing.ends.set()


async def test_another_room_hears_nothing_of_this_one(page, browser, bridge):
    await page.get_by_label("Room", exact=True).fill("other")
    await page.get_by_label("Room", exact=True).press("Enter")
    await all_connected(page)
    beside = await browser.new_page()
    await beside.goto(f"{bridge.address}/#room=other")
    await all_connected(beside)
    apart = await browser.new_page()
    await apart.goto(f"{bridge.address}/")
    await all_connected(apart)
    await ask(page, 1, "x")
    assert await all_equal(page) == await all_equal(beside)
    await expect(apart.locator(".message")).to_have_count(0)


async def test_the_flag_is_a_switch(page, bridge):
    flag = page.locator("#flag")
    await expect(flag).to_have_attribute("aria-checked", "true")
    await flag.focus()
    await flag.press("Space")
    await expect(flag).to_have_attribute("aria-checked", "false")
    assert not await bridge.flag.streaming("demo", "")
    await bridge.flag.change(Edit(25), Reason("ops"))
    await expect(page.locator("#flag-label")).to_have_text("Streaming in 25 % of rooms")
    await expect(flag).to_have_attribute("aria-checked", "true")
    await bridge.flag.change(Edit("off"), Reason("ops"))
    await ask(page, 4, "x")
    await all_equal(page)


async def test_an_error_is_told(page, backend):
    backend.fault = "error;after=3"
    await ask(page, 1, "x")
    await expect(answer(page, 1)).to_have_attribute("data-state", "error")
    await expect(page.locator(".toast").first).to_contain_text("unable to")


async def test_a_tool_at_work_is_seen_and_stays_told(page):
    await ask(page, 1, "the weather in Seoul?")
    for number in GROWING:
        await expect(answer(page, number).locator(".tools")).to_have_text("get_weather: done")
        await expect(answer(page, number)).to_have_attribute("data-state", "done")
        await expect(answer(page, number).locator(".reasoning")).to_be_hidden()


BLOCKED = "window.WebSocket = class { constructor() { throw new Error('blocked'); } };"


@pytest.mark.parametrize("streams", [True, False], ids=["streams", "no stream"])
async def test_a_page_that_may_open_no_websocket_goes_another_way(browser, bridge, streams):
    page = await browser.new_page()
    await page.add_init_script(BLOCKED)
    if not streams:
        await page.route("**/chat/rooms/**", lambda route: route.abort())
    await page.goto(f"{bridge.address}/")
    await all_connected(page, timeout=60_000)
    await expect(device(page, 1).locator(".detour")).to_be_visible()
    await ask(page, 1, "x")
    await all_equal(page, ALL if streams else (1, 4), timeout=60_000)
    await expect(page.locator(".toast")).to_have_count(0)
    await page.close()


async def test_the_contract_is_shown_with_nothing_from_elsewhere(browser, bridge):
    page = await browser.new_page()
    asked, failures = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    await page.goto(f"{bridge.address}/docs")
    await expect(page.locator("body")).to_have_attribute("data-shown", "true")
    posted = page.locator('[id="post-/stream/"]')
    await posted.locator("summary").click()
    await expect(posted).to_contain_text("streaming_off")
    sent = page.locator('[id="event-send_message"]')
    await sent.locator("summary").click()
    await expect(sent).to_contain_text("SendAck")
    await expect(page.locator("#type-Chunk")).to_contain_text("fromSeq?: integer")
    assert all(url.startswith((bridge.address, "data:")) for url in asked)
    assert not failures
