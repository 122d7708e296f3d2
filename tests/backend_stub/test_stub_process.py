import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from backend_stub import faults
from backend_stub.__main__ import main
from backend_stub.calls import CallDesk
from backend_stub.errors import SettingError
from backend_stub.model import Pace
from backend_stub.routes import application
from backend_stub.settings import Settings, from_environment
from backend_stub.tally import Tally


def run(folder):
    said = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "backend_stub", "--port", "0"]
    return subprocess.Popen(
        command, cwd=folder, env=said, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def assert_ends_on(process, number):
    said = process.stdout.readline()
    assert said.endswith(" with the built-in model\n")
    address = said.split()[5]
    with urllib.request.urlopen(f"{address}/healthz") as response:  # noqa: S310
        assert response.status == 200
    process.send_signal(number)
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_a_signal_ends_it_cleanly_and_soon(tmp_path):
    (tmp_path / "other").mkdir()
    with run(tmp_path) as terminated, run(tmp_path / "other") as interrupted:
        assert_ends_on(terminated, signal.SIGTERM)
        assert_ends_on(interrupted, signal.SIGINT)
    assert (tmp_path / "backend_stub.sqlite3").exists()


def test_a_port_in_use_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", port]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"unable to listen on http://127.0.0.1:{port}" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKEND_STUB_DATABASE_URL", "nonsense://"),
        ("BACKEND_STUB_DATABASE_URL", "no url"),
        ("BACKEND_STUB_DATABASE_URL", "sqlite:///x"),
        ("PORT", "x"),
    ],
)
def test_a_bad_setting_is_told_in_one_line(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert name in said


def test_a_database_that_cannot_be_opened_is_told_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("BACKEND_STUB_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/missing/x")
    assert main(["--port", "0"]) == 1
    assert capsys.readouterr().err.count("unable to open the history") == 1


def test_help_teaches_the_faults_and_the_settings(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in faults.NAMES - {"none"})
    assert "BACKEND_STUB_GRACE_S" in said
    assert all(f"OPENAI_{name}" in said for name in ("API_KEY", "BASE_URL", "MODEL"))


def test_help_names_every_path_that_is_served(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    app = application(CallDesk(None, Tally(), None, Pace()), None, Tally())
    paths = {resource.canonical.partition("/{")[0] for resource in app.router.resources()}
    assert len(paths) > 12
    assert {path for path in paths if path not in said} == {"/healthz"}


def test_settings_come_from_the_environment_and_arguments_go_before_it():
    environment = {
        "HOST": "0.0.0.0",  # noqa: S104
        "PORT": "1",
        "BACKEND_STUB_DATABASE_URL": "x+y://",
        "BACKEND_STUB_TOKENS": "3",
        "BACKEND_STUB_TOKENS_PER_S": "0",
        "BACKEND_STUB_FIRST_TOKEN_S": "1.5",
        "BACKEND_STUB_FAULT": "cut;after=1",
        "BACKEND_STUB_GRACE_S": "2",
    }
    expected = Settings("::1", 2, "x+y://", Pace(3, 0, 1.5), "cut;after=1", 2)
    assert from_environment(environment, host="::1", port="2") == expected
    assert from_environment({}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("BACKEND_STUB_TOKENS", "0"),
        ("BACKEND_STUB_TOKENS", "1.5"),
        ("BACKEND_STUB_TOKENS_PER_S", "nan"),
        ("BACKEND_STUB_FIRST_TOKEN_S", "-1"),
        ("BACKEND_STUB_GRACE_S", "inf"),
        ("BACKEND_STUB_FAULT", "nonsense"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(name, value):
    with pytest.raises(SettingError, match="unable to use"):
        from_environment({name: value})
