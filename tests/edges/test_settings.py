import json
from pathlib import Path

import pytest

from bridge.errors import SettingsError
from bridge.settings import Settings, environment, load

CONFIG = Path(__file__).resolve().parents[2] / "config" / "bridge.toml"


def test_nothing_set_gives_the_defaults_that_the_file_documents():
    documented = {}
    for line in CONFIG.read_text("utf-8").splitlines():
        name, equals, rest = line.removeprefix("# ").partition(" = ")
        if equals and name.isidentifier():
            documented[name] = rest.partition("#")[0].strip()
    settings = Settings()
    assert set(documented) == set(Settings.__slots__)
    for name, shown in documented.items():
        value = getattr(settings, name)
        spoken = str(value).lower() if isinstance(value, bool) else None
        if isinstance(value, tuple):
            spoken = json.dumps(value)
        assert shown == (
            spoken
            or (
                f'"{value}"'
                if isinstance(value, str)
                else f"{value:g}"
                if isinstance(value, float)
                else str(value)
            )
        )


def test_what_a_profile_says_stands_before_the_defaults_only(tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text("stall_s = 2.5\n")
    below = {"first_delta_s": 60, "stall_s": 30, "dialect": "token"}
    settings = load({"BRIDGE_DIALECT": "anthropic"}, file, below)
    assert (settings.first_delta_s, settings.stall_s, settings.dialect) == (60.0, 2.5, "anthropic")
    with pytest.raises(SettingsError, match="first_delta_s='soon'"):
        load({}, None, {"first_delta_s": "soon"})


def test_the_environment_stands_before_the_file_and_the_command_line_before_both(tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text('port = 1\nhost = "0.0.0.0"\nstall_s = 2.5\norigins = ["https://a.example"]\n')
    settings = load({"PORT": "2", "BRIDGE_ORIGINS": "https://b.example, https://c.example"}, file, host="::1")
    assert (settings.port, settings.host, settings.stall_s) == (2, "::1", 2.5)
    assert settings.origins == ("https://b.example", "https://c.example")


def test_the_flag_has_an_alias_and_its_own_name_stands_first():
    assert load({"FEATURE_STREAMING": "true"}).chat_streaming_enabled
    assert not load({"FEATURE_STREAMING": "true", "CHAT_STREAMING_ENABLED": "off"}).chat_streaming_enabled


def test_an_unknown_setting_is_refused_with_the_nearest_name(tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text("stal_s = 1\n")
    with pytest.raises(SettingsError, match="did you mean stall_s"):
        load({}, file)
    with pytest.raises(SettingsError, match="did you mean BRIDGE_STALL_S"):
        load({"BRIDGE_STAL_S": "1"})


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"BACKEND_URL": "localhost:5100"}, "http://host:port"),
        ({"BACKEND_URL": "ftp://host"}, "http://host:port"),
        ({"BACKEND_URL": "http://[::1"}, "http://host:port"),
        ({"PORT": "http"}, "whole number"),
        ({"PORT": "70000"}, "0 to 65535"),
        ({"BRIDGE_DROP_IN_PORT": "-1"}, "0 to 65535"),
        ({"BRIDGE_DROP_IN": "maybe"}, "auto, on or off"),
        ({"BRIDGE_STALL_S": "soon"}, "a number"),
        ({"BRIDGE_STALL_S": "0"}, "more than 0 seconds"),
        ({"BRIDGE_STALL_S": "nan"}, "more than 0 seconds"),
        ({"BRIDGE_TURNS_PER_ROOM": "0"}, "1 or more"),
        ({"CHAT_STREAMING_ENABLED": "maybe"}, "on or off"),
        ({"BRIDGE_GUARD": "maybe"}, "on, dry-run or off"),
        ({"BRIDGE_GUARD_WEBHOOK": "nonsense"}, "https://host/path"),
        ({"BRIDGE_GUARD_HALF_OPEN_PERCENT": "101"}, "100 or less"),
        ({"BRIDGE_GUARD_HALF_OPEN_PERCENT": "-1"}, "1 or more"),
        ({"BRIDGE_GUARD_ERRORS_PERCENT": "0"}, "more than 0"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_used_is_refused_and_named(environ, why):
    with pytest.raises(SettingsError, match=why) as refused:
        load(environ)
    assert next(iter(environ)) in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    broken = tmp_path / "bridge.toml"
    broken.write_text("port = ")
    for file in (broken, tmp_path / "missing.toml"):
        with pytest.raises(SettingsError, match="unable to read"):
            load({}, file)


def test_settings_reach_another_process_by_its_environment():
    given = {
        "BRIDGE_ORIGINS": "http://a, http://b",
        "BRIDGE_DEMO": "on",
        "BRIDGE_STALL_S": "0.25",
        "PORT": "1",
    }
    settings = load({**given, "REDIS_URL": "redis://127.0.0.1:1/0"})
    assert load(environment(settings)) == settings
    assert load(environment(Settings())) == Settings()
