"""The page for who uses a keyboard, a phone, a screen reader, or the dark."""

import pytest
from test_page import (  # noqa: F401  (browser, growing and page are fixtures)
    all_equal,
    answer,
    ask,
    browser,
    device,
    expect,
    growing,
    page,
)

pytestmark = pytest.mark.needs("chromium")

UNNAMED = """() => [...document.querySelectorAll("button, input, select, a, section, [tabindex], [role]")]
    .filter((each) => each.checkVisibility() && !["status"].includes(each.role))
    .filter((each) => !each.ariaLabel && !each.labels?.length && !each.getAttribute("aria-labelledby"))
    .filter((each) => !/[a-z]/i.test(each.textContent))
    .map((each) => each.outerHTML)"""

FAINT = """() => {
    const parts = (said) => said.match(/[\\d.]+/g).map(Number);
    const rgba = (said) => [...parts(said), 1].slice(0, 4);
    const linear = (part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (each) => {
        const said = rgba(getComputedStyle(each).backgroundColor);
        return said[3] === 1 ? said : ground(each.parentElement);
    };
    const ratio = (each) => {
        const both = [light(rgba(getComputedStyle(each).color)), light(ground(each))];
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const shown = [];
    while (texts.nextNode()) shown.push(texts.currentNode);
    return shown
        .filter((text) => text.data.trim() && text.parentElement.checkVisibility())
        .map((text) => [text.data.trim(), Math.round(ratio(text.parentElement) * 10) / 10])
        .filter(([, ratio]) => ratio < 4.5);
}"""
"""Texts whose contrast is below what WCAG 2.2, 1.4.3 asks for."""

COUNT = """() => {
    window.spoken = 0;
    const heard = new MutationObserver((told) => (window.spoken += told.length));
    for (const each of document.querySelectorAll("[aria-live=polite]"))
        heard.observe(each, { childList: true, characterData: true, subtree: true });
}"""


async def test_every_control_has_a_name(page):  # noqa: F811
    await ask(page, 1, "the weather?")
    assert await page.evaluate(UNNAMED) == []
    await expect(page.get_by_role("region", name="Device 3, SSE")).to_be_visible()
    await expect(page.get_by_role("textbox", name="Message of device 3")).to_be_visible()
    await page.get_by_role("link", name="Contract").click()
    await expect(page.locator("body")).to_have_attribute("data-shown", "true")


async def test_all_text_can_be_read(page):  # noqa: F811
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)
        await ask(page, 1, "the weather?")
        await expect(answer(page, 1).locator(".tools")).not_to_be_empty()
        assert await page.evaluate(FAINT) == []
    await all_equal(page)
    assert await page.evaluate(FAINT) == []


async def test_the_dark_is_the_systems_until_the_switch_says_otherwise(page):  # noqa: F811
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light, switch = await page.evaluate(ground), page.get_by_role("button", name="Dark")
    await page.emulate_media(color_scheme="dark")
    dark = await page.evaluate(ground)
    assert dark != light
    await expect(switch).to_have_attribute("aria-pressed", "true")
    await switch.click()
    assert await page.evaluate(ground) == light
    await page.reload()
    await expect(switch).to_have_attribute("aria-pressed", "false")
    assert await page.evaluate(ground) == light


async def test_a_screen_reader_hears_of_an_answer_and_not_of_every_token(page):  # noqa: F811
    await page.evaluate(COUNT)
    await ask(page, 1, "x")
    await all_equal(page)
    await expect(page.locator("#said")).to_have_text("The answer is complete, equal on 5 of 5 devices.")
    assert await page.evaluate("window.spoken") <= 6
    await expect(device(page, 1).locator(".log")).to_have_attribute("aria-live", "off")


async def test_a_phone_shows_the_devices_below_each_other(page):  # noqa: F811
    await page.set_viewport_size({"width": 390, "height": 844})
    await ask(page, 1, "w" * 200)
    await all_equal(page)
    boxes = [await device(page, number).bounding_box() for number in (1, 2, 3)]
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.usefixtures("growing")
async def test_the_keyboard_does_it_all(page):  # noqa: F811
    await expect(device(page, 1).locator("input")).to_be_focused()
    await page.keyboard.press("Alt+3")
    await expect(device(page, 3).locator("input")).to_be_focused()
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await page.keyboard.type("x")
    await page.keyboard.press("Enter")
    await expect(device(page, 3).locator("[data-action=stop]")).to_be_visible()
    await page.keyboard.press("Alt+X")
    await expect(page.locator('[data-figure="resumes"]')).to_have_text("1")
    await page.keyboard.press("Alt+S")
    await expect(device(page, 1).locator(".facts").last).to_contain_text("cancelled")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("/")
    await expect(device(page, 1).locator("input")).to_be_focused()
