"""The files that a bridge in production is run by: read, and run as far as that needs no engine."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bridge import __version__
from bridge.relay import LAST_WORD_S
from bridge.settings import SECRET_BYTES, Settings, load
from tests.held_ports import held_port

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = ROOT / "config/production.toml"
UNIT = ROOT / "config/bridge@.service"
FILES = [PRODUCTION, UNIT, ROOT / "Containerfile", ROOT / "compose.yaml", ROOT / "config/kubernetes.yaml"]
KNOWN = {env for each in Settings.__dataclass_fields__.values() for env in each.metadata["env"]}
PINNED = re.compile(r":\d+\.\d+\.\d+[a-z0-9.-]*$")
CLOSING_S = 5
"""For what comes after the turns and the devices: each of its waits is below a second."""


def lines_of(path):
    """Return the file's lines without comments and blanks."""
    lines = path.read_text("utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def needed():
    """Return the environment that production.toml says it needs."""
    found = dict(re.findall(r"^#   ([A-Z_]+)=(\S+)$", PRODUCTION.read_text("utf-8"), re.MULTILINE))
    assert {"BACKEND_URL", "REDIS_URL", "BRIDGE_AUTH", "BRIDGE_ORIGINS"} <= set(found)
    return found


def production(**given):
    return load({**needed(), **given}, PRODUCTION)


def longest_drain_s():
    """Return how long the settings of production let a process take from SIGTERM to its end."""
    return 2 * production().drain_s + LAST_WORD_S + CLOSING_S


def seconds(text):
    return int(re.fullmatch(r"(\d+)s?", str(text))[1])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_setting_that_a_file_names_exists(path):
    named = set(re.findall(r"\bBRIDGE_[A-Z_]+\b", path.read_text("utf-8")))
    unknown = named - KNOWN
    # those that a cluster would make up, which is why the file says enableServiceLinks
    assert unknown <= ({"BRIDGE_PORT", "BRIDGE_SERVICE_HOST"} if path.name == "kubernetes.yaml" else set())
    assert named


# -- config/production.toml


def test_it_loads_with_the_environment_that_it_asks_for():
    settings = production()
    assert (settings.mode, settings.guard, settings.drop_in) == ("production", "on", "off")
    assert not any((settings.chat_streaming_enabled, settings.demo, settings.admin_ui))
    assert set(needed()) <= KNOWN


def test_it_loads_with_a_secret_in_place_of_published_keys():
    assert production(BRIDGE_JWKS_URL="", BRIDGE_JWT_SECRET="s" * SECRET_BYTES).jwt_secret


def test_it_holds_no_secret_and_says_which_variable_stands_before_each_key():
    for line in lines_of(PRODUCTION):
        name = line.partition(" = ")[0]
        field = Settings.__dataclass_fields__[name]
        assert field.repr, name
        assert field.metadata["env"][0] in PRODUCTION.read_text("utf-8"), name


# -- config/bridge@.service


def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.optionxform = str
    parser.read_string(UNIT.read_text("utf-8"))
    return parser


def test_the_unit_starts_a_verb_that_exists_with_a_file_that_exists():
    service = unit()["Service"]
    python, *arguments = shlex.split(service["ExecStart"])
    assert python.startswith(service["WorkingDirectory"])
    assert (ROOT / arguments[-1]).is_file()
    assert taught(arguments)


def taught(arguments):
    """Return whether the command line takes ``arguments``, as far as it can be told without running them."""
    command = [sys.executable, *arguments, "--help"]
    return "usage:" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_unit_waits_for_the_drain_and_does_not_repeat_what_cannot_start():
    service = unit()["Service"]
    assert service["KillSignal"] == "SIGTERM"
    assert seconds(service["TimeoutStopSec"]) > longest_drain_s()
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("always", "2")


def test_the_unit_has_the_ports_of_nginx():
    assert "PORT=%i" in unit()["Service"]["Environment"].split()
    of_nginx = set(re.findall(r"server 127\.0\.0\.1:(\d+)", (ROOT / "config/nginx.conf").read_text("utf-8")))
    assert set(re.findall(r"bridge@(\d+)", UNIT.read_text("utf-8"))) == of_nginx


def test_the_unit_gives_the_process_no_right():
    service = unit()["Service"]
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert "User" not in service


@pytest.mark.needs("systemd")
def test_systemd_understands_the_unit(tmp_path):
    installed = tmp_path / "bridge@5000.service"
    text = UNIT.read_text("utf-8").replace("/opt/bridge/.venv/bin/python", "/usr/bin/env")
    installed.write_text(text, "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(installed)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "bridge@5000" not in said.stderr


# -- Containerfile


def instructions(word):
    """Return the arguments of each instruction ``word``, in order."""
    text = "\n".join(lines_of(ROOT / "Containerfile"))
    return [line.removeprefix(f"{word} ") for line in text.splitlines() if line.startswith(f"{word} ")]


def exec_form(instruction):
    found = re.search(r"\[.*\]$", instruction)
    assert found, "a shell in between would not hand the signal on"
    return yaml.safe_load(found[0])


def image_environment():
    return dict(pair.split("=", 1) for line in instructions("ENV") for pair in shlex.split(line))


def test_the_image_is_built_from_a_version_that_does_not_move():
    bases = [line.split()[0] for line in instructions("FROM")]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert PINNED.search(bases[0])
    assert "slim" in bases[0]


def test_what_is_copied_into_the_image_exists_and_is_not_kept_from_the_builder():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for line in instructions("COPY"):
        if line.startswith("--from"):
            continue
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source


def test_all_packages_of_the_project_are_copied_into_the_image():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    packages = re.search(r"^packages = (\[.*\])$", text[text.index("[tool.setuptools]") :], re.MULTILINE)[1]
    copied = {source for line in instructions("COPY") for source in line.split()}
    assert {package.partition(".")[0] for package in yaml.safe_load(packages)} <= copied
    (install,) = [line for line in instructions("RUN") if "pip install" in line]
    assert {"--no-cache-dir", "constraints.txt", ".[fast]"} <= set(shlex.split(install))


def test_the_image_is_nobody_and_hears_the_signal_itself():
    (user,) = instructions("USER")
    assert all(int(number) > 0 for number in user.split(":"))
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    (command,) = instructions("CMD")
    python, *arguments = exec_form(command)
    assert python == "python"
    assert taught(arguments)
    assert (ROOT / arguments[-1]).is_file()


def test_the_environment_of_the_image_is_made_of_settings():
    environ = image_environment()
    assert {name for name in environ if not name.startswith(("PATH", "PYTHON"))} <= KNOWN
    settings = production(HOST=environ["HOST"], PORT=environ["PORT"])
    assert str(settings.port) in instructions("EXPOSE")


# -- compose.yaml


def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def bridges():
    services = compose()["services"]
    found = [services[name] for name in services if name.startswith("bridge-")]
    assert len(found) == 2
    return found


def test_the_settings_of_compose_exist_and_cover_what_production_needs():
    for service in bridges():
        assert set(service["environment"]) <= KNOWN
        assert set(needed()) <= set(service["environment"])
        assert service["stop_grace_period"].endswith("s")
        assert seconds(service["stop_grace_period"]) > longest_drain_s()


def test_what_must_be_said_ends_the_start_where_it_is_not():
    (environ, _) = (service["environment"] for service in bridges())
    for name in ("BACKEND_URL", "REDIS_URL", "BRIDGE_AUTH", "BRIDGE_ORIGINS"):
        assert ":?" in environ[name], name


def test_images_of_compose_do_not_move_and_ours_is_this_version():
    images = {name: service["image"] for name, service in compose()["services"].items()}
    assert all(PINNED.search(image) for image in images.values())
    assert {image for image in images.values() if "/" not in image} == {f"bridge:{__version__}"}


def test_the_reference_backend_runs_only_where_it_is_asked_for():
    services = compose()["services"]
    assert [name for name in services if "profiles" in services[name]] == ["backend"]
    assert services["backend"]["profiles"] == ["demo"]
    assert taught(services["backend"]["command"][1:])


def test_only_nginx_is_reached_from_outside_and_only_it_is_trusted():
    services = compose()["services"]
    assert [name for name in services if "ports" in services[name]] == ["nginx"]
    assert all(port.startswith("127.0.0.1:") for port in services["nginx"]["ports"])
    address = services["nginx"]["networks"]["inside"]["ipv4_address"]
    assert {service["environment"]["BRIDGE_TRUSTED_PROXIES"] for service in bridges()} == {address}


def prepared(service, folder, **environ):
    """Run what ``service`` does to the files of config/ before its program starts; return what it wrote."""
    *_, script = compose()["services"][service]["command"]
    script = script.replace("$$", "$").replace("> /tmp/", f"> {folder}/").partition("&& exec")[0]
    script = script.replace("/etc/bridge/", f"{ROOT}/config/")
    subprocess.run(["sh", "-c", script], env=environ, check=True)
    (written,) = folder.iterdir()
    return written


def test_nginx_of_compose_is_the_nginx_of_config_with_its_addresses(tmp_path):
    text = prepared("nginx", tmp_path).read_text("utf-8")
    assert not re.findall(r"^\s*server 127\.", text, re.MULTILINE)
    port = image_environment()["PORT"]
    for service in bridges():
        address = service["networks"]["inside"]["ipv4_address"]
        assert text.count(f"server {address}:{port} ") == 2
    assert text.count("set_real_ip_from") == 2  # a comment speaks of it too
    assert f"{port}:80" in str(compose()["services"]["nginx"]["ports"])


@pytest.mark.needs("nginx")
def test_nginx_understands_what_compose_makes_of_its_file(tmp_path):
    (folder := tmp_path / "made").mkdir()
    file = prepared("nginx", folder)
    text = file.read_text("utf-8").replace("/var/log/nginx", str(tmp_path))
    file.write_text(text, "utf-8")
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [program, "-t", "-p", str(tmp_path), "-c", str(file), "-e", str(tmp_path / "error.log")]
    command += ["-g", f"pid {tmp_path}/nginx.pid;"]
    with held_port() as port:
        text = file.read_text("utf-8").replace("listen 80;", f"listen 127.0.0.1:{port};")
        file.write_text(text.replace("/var/log/nginx/access.log", str(tmp_path / "access.log")), "utf-8")
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_redis_of_compose_gets_its_password_and_keeps_the_user_as_it_is(tmp_path):
    made = prepared("redis", tmp_path, REDIS_PASSWORD="ab12")
    shipped = (ROOT / "config/redis.acl").read_text("utf-8")
    assert made.read_text("utf-8") == shipped.replace(">CHANGE-ME", ">ab12")
    assert "CHANGE-ME" in shipped


# -- config/kubernetes.yaml


def kubernetes():
    documents = yaml.safe_load_all((ROOT / "config/kubernetes.yaml").read_text("utf-8"))
    return {document["kind"]: document["spec"] for document in documents}


def pod():
    return kubernetes()["Deployment"]["template"]["spec"]


def container():
    (only,) = pod()["containers"]
    return only


def test_the_settings_of_the_pod_exist_and_cover_what_production_needs():
    names = [each["name"] for each in container()["env"]]
    assert len(set(names)) == len(names)
    assert set(needed()) <= set(names) <= KNOWN
    plain = {each["name"]: each["value"] for each in container()["env"] if "value" in each}
    assert production(**plain).trusted_proxies


def test_no_secret_is_in_the_file():
    secret = {each.metadata["env"][0] for each in Settings.__dataclass_fields__.values() if not each.repr}
    for each in container()["env"]:
        assert ("valueFrom" in each) == (each["name"] in secret), each["name"]
    assert "Secret" not in kubernetes()


def test_variables_that_a_cluster_makes_of_the_services_do_not_keep_it_from_starting():
    assert pod()["enableServiceLinks"] is False


def test_probes_ask_for_this_process_or_for_its_readiness_each_where_it_belongs():
    asked = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    paths = {name: probe["path"] for name, probe in asked.items()}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    ports = {each["name"]: str(each["containerPort"]) for each in container()["ports"]}
    assert {ports[probe["port"]] for probe in asked.values()} == {image_environment()["PORT"]}


def test_figures_and_flag_are_on_a_port_that_the_service_does_not_have():
    ports = {each["name"]: str(each["containerPort"]) for each in container()["ports"]}
    plain = {each["name"]: each.get("value") for each in container()["env"]}
    assert plain["BRIDGE_ADMIN_PORT"] == ports["admin"]
    assert [each["targetPort"] for each in kubernetes()["Service"]["ports"]] == ["http"]
    annotations = kubernetes()["Deployment"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == ports["admin"]


def test_the_pod_is_given_the_time_of_its_drain():
    *_, sleeps = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert int(sleeps) > 0
    assert pod()["terminationGracePeriodSeconds"] > int(sleeps) + longest_drain_s()


def test_the_pod_may_nothing_and_is_nobody():
    own, shared = container()["securityContext"], pod()["securityContext"]
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert shared["runAsNonRoot"]
    assert f"{shared['runAsUser']}:{shared['runAsGroup']}" == instructions("USER")[0]
    assert PINNED.search(container()["image"])
    assert container()["image"].endswith(f"/bridge:{__version__}")


def test_one_bridge_is_always_there():
    deployment = kubernetes()["Deployment"]
    assert deployment["replicas"] >= 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert kubernetes()["PodDisruptionBudget"]["maxUnavailable"] < deployment["replicas"]


def test_devices_that_poll_stay_and_all_selectors_find_the_pod():
    documents = kubernetes()
    assert documents["Service"]["sessionAffinity"] == "ClientIP"
    labels = documents["Deployment"]["template"]["metadata"]["labels"]
    selectors = [documents[kind]["selector"] for kind in ("Deployment", "PodDisruptionBudget", "Service")]
    assert [each.get("matchLabels", each) for each in selectors] == [labels] * 3
