"""The page in headless Chromium."""

import re
import shutil

import pytest

from bridge.changes import Edit, Reason

pytestmark = pytest.mark.needs("chromium")
api = pytest.importorskip("playwright.async_api", reason="the extra e2e (playwright) is not installed")
expect = api.expect

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


@pytest.fixture
async def browser():
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser, bridge):
    page = await browser.new_page()
    page.failures = []
    page.on("pageerror", lambda error: page.failures.append(str(error)))
    await page.goto(f"{bridge.address}/")
    for number in (1, 2, 3):
        await expect(device(page, number).locator(".link")).to_have_text("connected")
    yield page
    assert not page.failures


def device(page, number):
    return page.locator(f'[data-device="{number}"]')


def answer(page, number):
    return device(page, number).locator('[data-role="assistant"]').last


async def ask(page, number, text):
    await device(page, number).locator("input").fill(text)
    await device(page, number).locator("input").press("Enter")


async def test_an_answer_grows_on_two_devices_and_comes_whole_to_the_third(page):
    await ask(page, 1, "안녕, page")
    await expect(device(page, 1).locator('[data-role="user"] .text')).to_have_text("안녕, page")
    for number in (1, 2):
        await expect(answer(page, number)).to_have_attribute("data-state", "streaming")
    growing = await answer(page, 2).locator(".text").text_content()
    assert await device(page, 3).locator('[data-role="assistant"]').count() == 0
    for number in (1, 2, 3):
        await expect(answer(page, number)).to_have_attribute("data-state", "done")
        await expect(answer(page, number)).to_have_attribute("data-completion", re.compile(r"\d+"))
        await expect(device(page, number).locator('[data-role="user"]')).to_have_count(1)
        await expect(device(page, number).locator("[data-typing]")).to_be_hidden()
    texts = {await answer(page, number).locator(".text").text_content() for number in (1, 2, 3)}
    assert len(texts) == 1
    assert texts.pop().startswith(growing)
    ttft_ms = int(await answer(page, 1).get_attribute("data-ttft"))
    assert ttft_ms < int(await answer(page, 1).get_attribute("data-completion"))


async def test_the_typing_indicator_shows_until_the_first_text(page, backend):
    backend.fault = "hang"
    await ask(page, 1, "x")
    for number in (1, 2):
        await expect(device(page, number).locator("[data-typing]")).to_be_visible()
    await device(page, 2).locator("[data-action=stop]").click()
    await expect(device(page, 1).locator("[data-typing]")).to_be_hidden()


async def test_stop_keeps_the_text_shown_so_far(page):
    await ask(page, 1, "x")
    await expect(answer(page, 2).locator(".text")).not_to_be_empty()
    await device(page, 2).locator("[data-action=stop]").click()
    for number in (1, 2):
        await expect(answer(page, number)).to_have_attribute("data-state", "done")
        await expect(answer(page, number).locator(".facts")).to_contain_text("cancelled")


async def test_a_dropped_device_comes_back_and_has_the_same_text(page):
    await ask(page, 1, "x")
    await expect(answer(page, 2).locator(".text")).not_to_be_empty()
    link = device(page, 2).locator(".link")
    await link.evaluate(REMEMBER)
    await device(page, 2).locator("[data-action=drop]").click()
    await expect(link).to_have_attribute("data-was", re.compile("reconnecting"))
    for number in (1, 2):
        await expect(answer(page, number)).to_have_attribute("data-state", "done")
    assert (
        await answer(page, 1).locator(".text").text_content()
        == await answer(page, 2).locator(".text").text_content()
    )


async def test_a_reload_in_mid_stream_catches_up(page):
    await ask(page, 1, "x")
    await expect(answer(page, 1).locator(".text")).not_to_be_empty()
    await page.reload()
    await expect(answer(page, 1)).to_have_attribute("data-state", "streaming")
    for number in (1, 2, 3):
        await expect(answer(page, number)).to_have_attribute("data-state", "done")
    texts = {await answer(page, number).locator(".text").text_content() for number in (1, 2, 3)}
    assert len(texts) == 1


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
    await ask(page, 1, "x")
    for number in (1, 2, 3):
        await expect(answer(page, number)).to_have_attribute("data-state", "done")


async def test_an_error_is_told(page, backend):
    backend.fault = "error;after=3"
    await ask(page, 1, "x")
    await expect(answer(page, 1)).to_have_attribute("data-state", "error")
    await expect(page.locator(".toast").first).to_contain_text("unable to")


async def test_a_phone_shows_the_devices_below_each_other(page):
    await page.set_viewport_size({"width": 390, "height": 800})
    boxes = [await device(page, number).bounding_box() for number in (1, 2, 3)]
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_a_tool_at_work_is_seen_and_stays_told(page):
    await ask(page, 1, "the weather in Seoul?")
    for number in (1, 2):
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
    for number in (1, 2, 3):
        await expect(device(page, number).locator(".link")).to_have_text("connected", timeout=30_000)
    await ask(page, 1, "x")
    for number in (1, 2, 3) if streams else (1,):
        await expect(answer(page, number)).to_have_attribute("data-state", "done", timeout=30_000)
    if streams:
        texts = {await answer(page, number).locator(".text").text_content() for number in (1, 2, 3)}
        assert len(texts) == 1
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
