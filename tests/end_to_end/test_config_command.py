"""`python -m bridge config`: every setting with its source, no secret, and the same complaints as serve."""

import json

import pytest
from test_command_line import run

from bridge.__main__ import main
from bridge.settings import HIDDEN, Settings, without_credentials

SECRETS = {
    "BRIDGE_JWT_SECRET": "canary-" * 6,
    "BRIDGE_ADMIN_TOKEN": "canary-admin",
    "REDIS_URL": "redis://ann:canary@127.0.0.1:6379/0?password=canary",
    "BACKEND_URL": "http://ann:canary@127.0.0.1:5100/api?key=canary",
}


@pytest.fixture
def config(monkeypatch, capsys):
    def run(*arguments, **given):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        status = main(["config", *arguments])
        return status, *capsys.readouterr()

    return run


def by_name(out):
    return {shown["name"]: shown for shown in json.loads(out)}


def test_every_setting_is_shown_with_its_unit_and_source(config, tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text("stall_s = 7.5\nconnect_s = 1\n", "utf-8")
    status, out, err = config("--json", "--config", str(file), BRIDGE_CONNECT_S="2", FEATURE_STREAMING="on")
    assert (status, err) == (0, "")
    shown = by_name(out)
    assert len(shown) == len(Settings.__dataclass_fields__)
    assert shown["BRIDGE_STALL_S"] == {"name": "BRIDGE_STALL_S", "value": 7.5, "unit": "s", "source": "file"}
    assert (shown["BRIDGE_CONNECT_S"]["value"], shown["BRIDGE_CONNECT_S"]["source"]) == (2.0, "environment")
    assert shown["CHAT_STREAMING_ENABLED"]["source"] == "environment"
    assert shown["BRIDGE_MAX_CONTENT_BYTES"]["unit"] == "bytes"
    assert shown["PORT"]["source"] == "default"


def test_what_a_profile_brings_is_shown_as_its(config):
    given = {"BRIDGE_BACKEND_PROFILE": "openai_chat", "OPENAI_API_KEY": "canary", "OPENAI_MODEL": "m"}
    status, out, _ = config("--json", **given)
    assert (status, by_name(out)["BRIDGE_DIALECT"]["source"]) == (0, "profile")
    assert "canary" not in out


def test_for_people_each_setting_is_a_line(config):
    status, out, _ = config(BRIDGE_ORIGINS="https://a.example, https://b.example", BRIDGE_DEMO="yes")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0
    assert lines["BRIDGE_TURN_S"].split() == ["BRIDGE_TURN_S", "120", "s", "default"]
    assert "https://a.example, https://b.example" in lines["BRIDGE_ORIGINS"]
    assert lines["BRIDGE_DEMO"].split()[1:] == ["on", "environment"]


@pytest.mark.parametrize("arguments", [[], ["--json"], ["check"], ["check", "--json"]], ids=str)
def test_no_secret_is_shown(config, arguments):
    status, out, err = config(*arguments, BRIDGE_AUTH="jwt", **SECRETS)
    assert status == 0
    assert "canary" not in out + err
    assert "check" in arguments or ("redis://127.0.0.1:6379/0" in out and HIDDEN in out)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pw@h:1/0", "redis://h:1/0"),
        ("redis+sentinel://u:pw@a:1,b:2/main", "redis+sentinel://a:1,b:2/main"),
        ("unix:///run/redis.sock?password=pw", "unix:///run/redis.sock"),
        ("redis://:p/w@h:1/0", HIDDEN),
        ("redis://:p#w@h:1/0", HIDDEN),
        ("redis://:p?w@h:1/0", HIDDEN),
        ("redis://[pw", HIDDEN),
        ("pw", HIDDEN),
    ],
)
def test_a_password_in_an_address_is_not_shown_wherever_it_stands(url, shown):
    assert without_credentials(url) == shown


def test_settings_that_can_be_used_pass_the_check(config):
    assert config("check")[:2] == (0, "ok: the bridge can start with these settings\n")
    assert json.loads(config("check", "--json")[1]) == {"ok": True}


@pytest.mark.parametrize(
    "keys", [{"BRIDGE_JWT_SECRET": "s" * 32}, {"BRIDGE_JWKS_URL": "https://issuer.example/keys"}], ids=list
)
def test_one_place_for_the_keys_of_tokens_is_enough(config, keys):
    assert config("check", BRIDGE_AUTH="jwt", **keys)[0] == 0


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"BACKEND_URL": "nonsense"}, "unable to use BACKEND_URL"),
        ({"BRIDGE_STAL_S": "1"}, "did you mean BRIDGE_STALL_S"),
        ({"BRIDGE_DIALECT": "klingon"}, "it must be one of"),
        ({"HOST": "0.0.0.0"}, "set BRIDGE_AUTH=jwt"),  # noqa: S104
        ({"BRIDGE_BACKEND_PROFILE": "nope"}, "nope.toml"),
        ({"BRIDGE_FLAG_PROVIDER": "no.such:thing"}, "BRIDGE_FLAG_PROVIDER"),
    ],
    ids=str,
)
async def test_the_check_says_what_serve_would_say(given, why):
    status, out, err = await run("bridge", "config", "check", **given)
    assert (status, out) == (1, "")
    assert why in err
    assert await run("bridge", "serve", **given) == (2, "", err)
