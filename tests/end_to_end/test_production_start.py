"""`serve` as the files for production start it: with their settings, asked by their probes, told to end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml
from test_command_line import run

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text("utf-8")
SERVE = yaml.safe_load(re.search(r"^CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)[1])[1:]
HEALTHCHECK = yaml.safe_load(re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)[1])[1:]
ENVIRONMENT = {
    "BACKEND_URL": "http://127.0.0.1:9",
    "BRIDGE_AUTH": "jwt",
    "BRIDGE_JWT_SECRET": "canary-" * 6,
    "BRIDGE_ORIGINS": "https://chat.example.org",
    "BRIDGE_ADMIN_TOKEN": "canary-admin",
}


@contextlib.asynccontextmanager
async def served(**given):
    """Run the command of the image on a free port; give its address and process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *SERVE,
        cwd=ROOT,
        env={**clean, **ENVIRONMENT, "PORT": "0", **given},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            address = ""
            while not address:
                address = json.loads(await process.stderr.readline()).get("address", "")
        yield address, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def paths_of_the_probes():
    text = (ROOT / "config/kubernetes.yaml").read_text("utf-8")
    found = set(re.findall(r"path: (/\w+)", text))
    assert found == {"/healthz", "/readyz", "/metrics"}
    return sorted(found)


async def test_it_starts_answers_every_probe_and_ends_in_order():
    async with served() as (address, process):
        async with aiohttp.ClientSession() as http:
            for path in paths_of_the_probes():
                async with http.get(address + path) as response:
                    assert response.status == 200, path
            async with http.get(f"{address}/admin/flag") as response:
                assert response.status == 401
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0


async def test_the_health_check_of_the_image_tells_the_living_from_the_dead():
    async with served() as (address, process):
        async with asyncio.timeout(60):  # the image asks three times too
            while await checked(address) != 0:
                pass
        process.kill()
        await process.wait()
        assert await checked(address) != 0


async def checked(address):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *HEALTHCHECK,
        env={**os.environ, "PORT": str(urlsplit(address).port)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        return await process.wait()


@pytest.mark.parametrize(
    ("missing", "says"),
    [("BRIDGE_AUTH", "set BRIDGE_AUTH=jwt"), ("BRIDGE_ORIGINS", "BRIDGE_ORIGINS=https://chat.example.org")],
)
async def test_it_does_not_start_without_what_keeps_strangers_out(missing, says):
    given = {name: value for name, value in ENVIRONMENT.items() if name != missing}
    status, out, err = await run(*SERVE[1:], **given)
    assert (status, out) == (2, "")
    assert says in err
    assert "canary" not in err
