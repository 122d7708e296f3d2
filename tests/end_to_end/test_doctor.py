"""The doctor against the reference backend: well with every profile, and the right word for every fault."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from end_to_end_apps import CONFIG, KEYS, backend_at

from backend_stub.model import Pace
from bridge import profiles
from bridge.commands import doctor
from bridge.settings import load

PROFILES = sorted(file.stem for file in (CONFIG / "backends").glob("*.toml"))


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(12, 500, 0.01)) as backend:
        yield backend


@pytest.fixture
def examine(backend, capsys):
    async def run(name="default", **chosen):
        read = profiles.read(CONFIG, name, KEYS)
        given = {"backend_url": backend.url, "first_delta_s": 60.0, "stall_s": 60.0, **chosen}
        status = await doctor.run(load({}, None, read.settings, **given), read, "Hello")
        said = capsys.readouterr().out
        return status, said, [line for line in said.splitlines() if line.startswith("wrong")]

    return run


@pytest.mark.parametrize("name", PROFILES)
async def test_every_profile_is_well(examine, name):
    status, said, wrong = await examine(name)
    assert (status, wrong) == (0, []), said
    assert "-> text " in said
    assert "the end: stop" in said


@pytest.mark.parametrize("port", ["9", "none"])
async def test_a_redis_that_is_away_is_named_beside_a_backend_that_is_well(examine, port):
    status, said, wrong = await examine(redis_url=f"redis://127.0.0.1:{port}/0" if port != "none" else "")
    assert (status, len(wrong)) == ((1, 1) if port == "9" else (0, 0)), said
    assert ("is REDIS_URL right?" in said) == (port == "9")
    assert "the end: stop" in said


@pytest.mark.parametrize("name", ["default", "reference", "fastapi", "use_chat", "trpc"])
async def test_what_answers_a_chat_server_has_the_shape_of_the_backends_own_answer(examine, name):
    status, said, wrong = await examine(name, drop_in="on")
    assert (status, wrong) == (0, []), said
    assert "drop-in   the answer comes from " in said


async def test_a_call_that_names_no_room_is_none_for_a_drop_in(examine):
    _, said, _ = await examine("openai_chat", drop_in="on")
    assert "drop-in   none" in said


@pytest.mark.parametrize("drop_in", ["on", "auto"])
async def test_an_answer_of_another_shape_is_named(examine, tmp_path, monkeypatch, drop_in):
    (tmp_path / "backends").mkdir()
    plain = (CONFIG / "backends" / "default.toml").read_text("utf-8")
    told = plain.replace('createdAt = "{createdAt}"', "createdAt = 5\nmood = 'good'")
    (tmp_path / "backends" / "odd.toml").write_text(told.replace('role = "assistant"\n', ""), "utf-8")
    monkeypatch.setattr("test_doctor.CONFIG", tmp_path)
    status, said, wrong = await examine("odd", drop_in=drop_in)
    for difference in ("/role is missing", "/mood is one too many", "/createdAt is a number and not a text"):
        assert difference in said
    assert (status, len(wrong)) == ((1, 3) if drop_in == "on" else (0, 0))


COMPLAINTS = {
    "status-503": "status 503",
    "status-429": "status 429: it wants fewer calls",
    "hang": "no text in time (BRIDGE_FIRST_DELTA_S = 0.4)",
    "stall;after=5": "stalled behind 5 deltas (BRIDGE_STALL_S = 1)",
    "cut;after=5": "ended before its end marker",
    "no-end": "ended before its end marker",
    "malformed": "1 frames could not be read",
    "malformed-many": "3 frames in a row",
    "json-error": "sent no text/event-stream",
    "redirect": "status 302",
    "error": "the backend reported an error",
    "huge;bytes=2000000": "a line is over 262144 bytes",
}


SHORT = {"hang": {"first_delta_s": 0.4}, "stall;after=5": {"stall_s": 1.0}}
"""The deadlines that are to pass: a machine that stands still passes the others for the backend."""


@pytest.mark.parametrize("fault", COMPLAINTS)
async def test_what_is_wrong_is_named(examine, backend, fault):
    backend.fault = fault
    status, said, wrong = await examine(**SHORT.get(fault, {}))
    assert status == 1
    assert any(COMPLAINTS[fault] in line for line in wrong), said


async def test_a_wrong_path_and_a_wrong_body_are_named_with_what_the_backend_said(examine, backend):
    status, _, wrong = await examine(backend_url=backend.url + "/nowhere")
    assert status == 1
    assert "it has no such path" in wrong[0]


async def test_a_wrong_dialect_is_named_with_the_right_one(examine):
    status, _, wrong = await examine(dialect="token")
    assert status == 1
    assert any("BRIDGE_DIALECT=ui_message" in line for line in wrong)


async def test_a_backend_that_is_not_there_is_named(examine, backend):
    await backend.stop()
    status, _, wrong = await examine()
    assert status == 1
    assert all("does it run, is BACKEND_URL right?" in line for line in wrong)


async def test_a_profile_that_promises_too_much_is_named(examine):
    async def stream(_):
        frames = b'data: {"type":"text-delta","delta":"one"}\n\ndata: {"type":"finish"}\n\n'
        return web.Response(body=frames, content_type="text/event-stream")

    async def complete(_):
        return web.json_response({"content": "another"})

    app = web.Application()
    app.add_routes([web.post("/chat/messages/stream", stream), web.post("/chat/messages", complete)])
    async with TestServer(app) as forgetful:
        status, _, wrong = await examine("reference", backend_url=str(forgetful.make_url("")))
    assert status == 1
    assert "the profile must not say idempotent = true" in wrong[0]
