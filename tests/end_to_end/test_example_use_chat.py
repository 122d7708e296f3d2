"""The React example, as Vite builds and serves it, in headless Chromium."""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

import pytest
from end_to_end_apps import Device, backend_at, stored
from test_page import browser, expect  # noqa: F401  (browser is a fixture)

from backend_stub.model import Pace
from tests.held_model import GrowingModel

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "use_chat"
VITE = EXAMPLE / "node_modules" / "vite" / "bin" / "vite.js"

pytestmark = [
    pytest.mark.needs("chromium"),
    pytest.mark.needs("node"),
    pytest.mark.needs("example-use-chat"),
    pytest.mark.timeout(400),  # it builds and starts much before its first step
]
LONG_MS = 60_000


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(), grace_s=20) as backend:
        backend._provider = GrowingModel()
        yield backend


@contextlib.asynccontextmanager
async def vite(*arguments, **environ):
    process = await asyncio.create_subprocess_exec(
        shutil.which("node"), str(VITE), *arguments,
        cwd=EXAMPLE, env={**os.environ, "NO_COLOR": "1", **environ}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder of the built example; it is built once."""
    folder = tmp_path_factory.mktemp("use_chat")

    async def build():
        async with asyncio.timeout(60), vite("build", "--outDir", str(folder), "--emptyOutDir") as process:
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()

    asyncio.run(build())
    return folder


@pytest.fixture(params=["http", "socket.io"])
async def page(request, browser, bridge, built, unused_tcp_port):  # noqa: F811
    port = str(unused_tcp_port)
    serve = ("preview", "--outDir", str(built), "--port", port, "--strictPort")
    async with vite(*serve, BRIDGE_URL=bridge.address) as process:
        async with asyncio.timeout(60):
            while b"Local:" not in await process.stdout.readline():
                assert process.returncode is None
        page, failures = await browser.new_page(), []
        page.on("pageerror", lambda error: failures.append(str(error)))
        await page.goto(f"http://127.0.0.1:{port}/?room=tea&over={request.param}")
        await expect(page.locator("output")).to_have_text("ready", timeout=LONG_MS)
        yield page
        assert not failures


def answer(page):
    return page.locator('[data-role="assistant"]').last


async def ask(page, text):
    await page.get_by_label("Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def test_an_answer_grows_survives_a_reload_and_is_kept_and_a_stop_stops_for_all(page, bridge, backend):
    async with Device.at(bridge.address, "tea") as other:
        await ask(page, "안녕, example")
        await expect(answer(page)).to_contain_text("You wrote")
        await page.reload()
        await expect(page.locator('[data-role="user"]')).to_have_text("user 안녕, example")
        await expect(page.locator("output")).to_have_text("streaming")
        backend._provider.ends.set()
        end = await other.first("ai_message_end")
        await expect(page.locator("output")).to_have_text("ready", timeout=LONG_MS)
        shown = f"assistant {end['content']}"
        assert await answer(page).text_content() == shown
        assert (await stored(backend, "tea", end["requestId"]))["content"] == end["content"]
        await page.reload()
        await expect(page.locator("[data-role]")).to_have_count(2)
        assert await answer(page).text_content() == shown
    backend._provider.ends.clear()
    async with Device.at(bridge.address, "tea") as other:
        await ask(page, "x")
        await expect(page.locator("[data-role]")).to_have_count(4)
        await expect(answer(page)).to_contain_text("You")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator("output")).to_have_text("ready")
        end = await other.first("ai_message_end")
        assert end["finishReason"] == "cancelled"
        assert end["content"].startswith((await answer(page).text_content()).removeprefix("assistant "))
        await expect(page.get_by_role("alert")).to_have_count(0)
