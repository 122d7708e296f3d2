"""`python -m bridge validate` on a bridge of its own, on a running one, stopped, and wrongly used."""

import asyncio
import json
import signal
import sys

import jwt
import pytest
from end_to_end_apps import Device, running
from test_command_line import environ, run

from bridge.__main__ import main
from bridge.changes import Edit, Reason

SECRET = "canary-" * 6
TOKEN = {"BRIDGE_ADMIN_TOKEN": "canary-admin"}
FEW = ("--rooms", "2", "--messages", "4")
PATIENT = ("--ttft-p95-ms", "60000", "--completion-p95-ms", "120000")
"""Limits that hold on a machine that stands still for seconds."""


async def validate(*arguments, **given):
    status, out, err = await run("bridge", "validate", *FEW, *PATIENT, *arguments, **given)
    assert "Traceback" not in err
    assert "canary" not in out + err
    return status, out, err


def sides(out):
    return {side["flag"]: side for side in json.loads(out)["sides"]}


async def test_with_nothing_given_it_brings_its_own_bridge_whatever_the_environment_says(tmp_path):
    picture = tmp_path / "wait.svg"
    elsewhere = {"REDIS_URL": "redis://127.0.0.1:9/0", "BRIDGE_AUTH": "closed", "OPENAI_API_KEY": "canary"}
    status, out, err = await validate("--picture", str(picture), **elsewhere)
    assert status == 0, out + err
    assert "flag off" in out
    assert out.splitlines()[-1].startswith("PASS")
    assert "<svg" in picture.read_text("utf-8")


async def test_a_running_bridge_is_measured_both_ways_and_its_flag_put_back(backend):
    async with running(backend.url, admin_token=TOKEN["BRIDGE_ADMIN_TOKEN"]) as bridge:
        await bridge.flag.change(Edit(25), Reason("ann", "pilot"))
        status, out, err = await validate("--json", "--url", bridge.address, **TOKEN)
        assert status == 0, out + err
        assert "is 25 %; it is set to off, then on, for everybody" in err
        state = await bridge.flag.state()
        assert state.rollout.value == 25
        assert [change.rollout.value for change in state.history] == [25, "on", "off", 25]
    assert (sides(out)["off"]["streamed"], sides(out)["on"]["streamed"]) == (0, 4)
    assert sides(out)["on"]["ttft_ms"]["p50"] < sides(out)["off"]["ttft_ms"]["p50"]
    assert json.loads(out)["passed"]


async def test_as_is_leaves_the_flag_alone_and_needs_no_admin(backend):
    async with running(backend.url) as bridge:
        status, out, err = await validate("--as-is", "--json", "--url", bridge.address)
        assert status == 0, out + err
        assert not (await bridge.flag.state()).history
    assert sides(out)["as is"]["streamed"] == 4


async def test_a_connection_that_is_cut_costs_nothing_and_is_counted(backend):
    async with running(backend.url, admin_token="t") as bridge:
        validating = asyncio.create_task(validate("--as-is", "--json", "--url", bridge.address))
        async with asyncio.timeout(60):
            while not any(turn.seq for _, turn in bridge.rooms.all_running()):
                await asyncio.sleep(0.01)
        for sid in list(bridge.sio.eio.sockets):
            await bridge.sio.cut_off(sid)
        status, out, err = await validating
    assert status == 0, out + err
    assert sides(out)["as is"]["reconnects"] == 4


async def test_a_backend_that_fails_fails_the_validation(backend):
    backend.fault = "cut;after=5"
    async with running(backend.url, "default", demo=True) as bridge:
        status, out, _ = await validate("--json", "--url", bridge.address)
    assert status == 1
    assert sides(out)["on"]["errors_percent"] > 0 or sides(out)["off"]["errors_percent"] > 0
    assert not json.loads(out)["passed"]


async def test_limits_are_arguments(backend):
    async with running(backend.url, demo=True) as bridge:
        status, out, _ = await validate("--url", bridge.address, "--ttft-p95-ms", "0.1")
    assert status == 1
    assert out.splitlines()[-1] == "FAIL  1 of 13 checks: ttft_p95_ms (flag on)"


async def test_users_bring_tokens_from_a_file_and_ask_in_their_rooms(backend, tmp_path):
    claims = {"sub": "ann", "exp": 4_000_000_000, "rooms": ["a", "b"]}
    file = tmp_path / "token"
    file.write_text(jwt.encode(claims, SECRET) + "\n")
    async with running(backend.url, auth="jwt", jwt_secret=SECRET) as bridge:
        at = ("--as-is", "--url", bridge.address)
        status, out, err = await validate(*at, "--token", f"@{file}", "--room", "a", "--room", "b")
        assert status == 0, out + err
        status, _, err = await validate(*at, "--token", f"@{file}")
        assert (status, "no member" in err) == (2, True)
        status, _, err = await validate(*at)
        assert (status, "token" in err) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
async def test_stopped_in_the_middle_it_puts_the_flag_back(backend, number):
    async with running(backend.url, demo=True) as bridge:
        await bridge.flag.change(Edit(25), Reason("ann", "pilot"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "validate", *FEW, "--messages", "2000", "--url", bridge.address,
            env=environ(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            while (await bridge.flag.state()).rollout.value != "off":
                await asyncio.sleep(0.05)
            process.send_signal(number)
            process.send_signal(number)  # impatience must not leave it half done
            out, err = await process.communicate()
        assert (await bridge.flag.state()).rollout.value == 25
    assert (process.returncode, out) == (1, b"")
    assert b"the flag is 25 % again" in err
    assert b"nothing is proved" in err
    assert b"Traceback" not in err


async def test_what_a_guard_sets_in_the_middle_stays(backend):
    async with running(backend.url, demo=True) as bridge:
        validating = asyncio.create_task(validate("--messages", "8", "--url", bridge.address))
        async with asyncio.timeout(60):
            while (await bridge.flag.state()).rollout.value != "on" or not (
                await bridge.flag.state()
            ).history[1:]:
                await asyncio.sleep(0.05)
        await bridge.flag.change(Edit("off"), Reason("guard", "errors"))
        status, out, err = await validating
        assert (await bridge.flag.state()).rollout.value == "off"
    assert status == 1, out
    assert "stays off: guard has set it meanwhile; it was on" in err
    assert "strayed (flag on)" in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--rooms", "0"], "no whole number above 0"),
        (["--rooms", "x"], "no whole number above 0"),
        (["--rooms", "4", "--users", "7"], "4 rooms need 8 or more"),
        (["--rooms", "4", "--messages", "3"], "each of 4 rooms asks"),
        (["--ttft-p95-ms", "0"], "not above 0"),
        (["--errors-percent", "-1"], "no number from 0 up"),
        (["--errors-percent", "nan"], "no number from 0 up"),
        (["--lost", "-1"], "no whole number"),
        (["--token", "@/nowhere"], "unable to read a token"),
        (["--url", "http://127.0.0.1:9"], "unable to connect"),
        (["--url", "nonsense"], "unable to use the address"),
        (["--url", "http://ann:canary@127.0.0.1:9"], "unable to use the address"),
        (["--url", "http://127.0.0.1:9/?token=canary"], "unable to use the address"),
        (["--picture", "/nowhere/wait.svg"], "unable to write /nowhere/wait.svg"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_and_is_exit_status_2(capsys, arguments, why):
    try:
        got = main(["validate", *arguments])
    except SystemExit as exited:  # argparse ends the process itself
        got = exited.code
    out, err = capsys.readouterr()
    assert (got, out) == (2, "")
    assert why in err
    assert "canary" not in err


async def test_a_wrong_admin_token_is_refused_before_anything_is_asked(backend):
    async with running(backend.url, admin_token="other") as bridge, Device.at(bridge.address):
        status, out, err = await validate("--url", bridge.address, **TOKEN)
    assert (status, out) == (2, "")
    assert "the bearer token is wrong or missing" in err
    assert not backend.tally.calls


async def test_help_teaches():
    status, out, _ = await run("bridge", "validate", "--help")
    assert status == 0
    assert all(word in out for word in ("--as-is", "--picture", "@FILE", "puts it back", "exit status"))
