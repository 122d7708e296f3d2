"""What may import what, as data, and the sizes that keep a module readable. The code is read, not run."""

import ast
import statistics
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = {
    "bridge.changes",
    "bridge.addresses",
    "bridge.codec",
    "bridge.errors",
    "bridge.events",
    "bridge.facts",
    "bridge.alerts",
    "bridge.broadcast",
    "bridge.due",
    "bridge.figures",
    "bridge.guard",
    "bridge.framing",
    "bridge.letters",
    "bridge.recent",
    "bridge.identity",
    "bridge.limits",
    "bridge.messages",
    "bridge.orders",
    "bridge.origins",
    "bridge.positions",
    "bridge.requests",
    "bridge.rollout",
    "bridge.schemas",
    "bridge.transcript",
    "bridge.turn",
    "bridge.ui_parts",
    "bridge.dialects",
    "bridge.dialects.base",
    "bridge.dialects.anthropic",
    "bridge.dialects.auto",
    "bridge.dialects.chat_completions",
    "bridge.dialects.responses",
    "bridge.dialects.role_delta",
    "bridge.dialects.stream_event",
    "bridge.dialects.token",
    "bridge.dialects.ui_message",
}
IMPURE = {"asyncio", "logging", "os", "random", "socket", "threading", "time", "uuid"}
MIDDLE = {
    "bridge.acks",
    "bridge.connections",
    "bridge.guest",
    "bridge.listener",
    "bridge.admission",
    "bridge.lately",
    "bridge.members",
    "bridge.node",
    "bridge.pace",
    "bridge.patience",
    "bridge.own_turn",
    "bridge.pump",
    "bridge.queued_device",
    "bridge.readiness",
    "bridge.relay",
    "bridge.room",
    "bridge.rooms",
    "bridge.run",
    "bridge.tracing",
    "bridge.watch",
    "bridge.writer",
}
PORTS = {"bridge.ports"}
WIRE = CORE | PORTS | MIDDLE | {"bridge.failures", "bridge.http_wire", "bridge.event_stream", "bridge.gate"}
SOCKETS = {
    "bridge.sockets.burst",
    "bridge.sockets.confirmations",
    "bridge.sockets.device",
    "bridge.sockets.encoder",
    "bridge.sockets.line",
}

# module -> (what of ours it may import, third-party packages it may import)
TABLE = {
    **dict.fromkeys(CORE, (CORE, set())),
    "bridge.ports": (CORE, set()),
    "bridge.room": (CORE | PORTS, set()),
    "bridge.rooms": (CORE | PORTS | {"bridge.room"}, set()),
    "bridge.members": (CORE | PORTS, set()),
    "bridge.admission": (CORE | PORTS | {"bridge.members"}, set()),
    "bridge.pump": (CORE | PORTS, set()),
    "bridge.tracing": (CORE | PORTS, set()),
    "bridge.run": (CORE | PORTS | {"bridge.pump", "bridge.tracing"}, set()),
    "bridge.pace": (set(), set()),
    "bridge.patience": (PORTS, set()),
    "bridge.lately": (PORTS | {"bridge.run"}, set()),
    "bridge.writer": (
        CORE | PORTS | {"bridge.lately", "bridge.patience", "bridge.rooms", "bridge.run"},
        set(),
    ),
    "bridge.relay": (
        CORE
        | PORTS
        | {"bridge.pace", "bridge.pump", "bridge.rooms", "bridge.run", "bridge.tracing", "bridge.writer"},
        set(),
    ),
    "bridge.readiness": (PORTS | {"bridge.node", "bridge.relay"}, set()),
    "bridge.node": (CORE | PORTS | {"bridge.rooms", "bridge.relay"}, set()),
    "bridge.watch": (CORE | PORTS, set()),
    "bridge.guest": (CORE | PORTS | {"bridge.admission", "bridge.rooms"}, set()),
    "bridge.acks": (CORE | PORTS | {"bridge.guest", "bridge.relay", "bridge.rooms"}, set()),
    "bridge.queued_device": (CORE, set()),
    "bridge.connections": (CORE | PORTS | {"bridge.guest", "bridge.queued_device", "bridge.rooms"}, set()),
    "bridge.own_turn": (
        CORE | {"bridge.connections", "bridge.guest", "bridge.queued_device", "bridge.relay", "bridge.rooms"},
        set(),
    ),
    "bridge.wire_types": (CORE | {"bridge.rooms"}, set()),
    "bridge.contract": (CORE | {"bridge.rooms", "bridge.wire_types"}, set()),
    "bridge.http_bodies": (CORE | {"bridge.contract"}, set()),
    "bridge.http_surface": (CORE | {"bridge.contract", "bridge.http_bodies"}, set()),
    "bridge.openapi": (CORE | {"bridge.contract", "bridge.http_surface", "bridge.http_wire"}, set()),
    "bridge.asyncapi": (CORE | {"bridge.contract"}, set()),
    "bridge.typescript": (CORE | {"bridge.contract"}, set()),
    "bridge.stores.memory": (CORE | PORTS, set()),
    "bridge.redis_line": (set(), {"hiredis", "redis"}),
    "bridge.lasting_line": ({"bridge.redis_line"}, set()),
    "bridge.redis_client": ({"bridge.errors", "bridge.lasting_line", "bridge.redis_line"}, {"redis"}),
    "bridge.group_commit": (CORE | PORTS | {"bridge.redis_client", "bridge.redis_line"}, set()),
    "bridge.inbox_reader": (CORE | PORTS | {"bridge.redis_client", "bridge.redis_line"}, set()),
    "bridge.outbox": ({"bridge.errors", "bridge.redis_client"}, set()),
    "bridge.stores.redis": (
        CORE | PORTS | {"bridge.redis_client", "bridge.group_commit", "bridge.inbox_reader", "bridge.outbox"},
        set(),
    ),
    "bridge.javascript": ({"bridge.errors"}, {"msgpack"}),
    "bridge.node_cluster": ({"bridge.errors", "bridge.javascript"}, set()),
    "bridge.node_requests": ({"bridge.errors", "bridge.javascript", "bridge.node_cluster"}, set()),
    "bridge.node_answers": ({"bridge.errors", "bridge.javascript", "bridge.node_cluster"}, set()),
    "bridge.cluster_adapter": (
        {"bridge.errors", "bridge.javascript", "bridge.node_answers", "bridge.node_cluster"},
        set(),
    ),
    "bridge.cluster_lines": (
        {"bridge.cluster_adapter", "bridge.javascript", "bridge.node_cluster", "bridge.redis_client"},
        set(),
    ),
    "bridge.copies": (
        CORE
        | PORTS
        | {"bridge.cluster_adapter", "bridge.javascript", "bridge.node_cluster", "bridge.node_requests"},
        set(),
    ),
    "bridge.everywhere": (
        CORE
        | PORTS
        | {"bridge.node_answers", "bridge.node_cluster", "bridge.node_requests", "bridge.redis_client"},
        set(),
    ),
    "bridge.stores.redis_flag": (CORE | PORTS | {"bridge.redis_client"}, set()),
    "bridge.stores.redis_tally": ({"bridge.figures", "bridge.redis_client"}, set()),
    "bridge.webhook": (CORE | PORTS, {"httpx"}),
    "bridge.guardroom": (  # a part of the composition root
        CORE
        | PORTS
        | {"bridge.settings", "bridge.shared", "bridge.stores.memory", "bridge.stores.redis_tally"}
        | {"bridge.telemetry", "bridge.watch", "bridge.webhook"},
        set(),
    ),
    "bridge.remote_flag": (CORE | PORTS, {"httpx"}),
    "bridge.openfeature": (CORE | PORTS, {"openfeature"}),
    "bridge.opentelemetry": (CORE | PORTS | {"bridge.tracing"}, {"opentelemetry"}),
    "bridge.profiles": ({"bridge.errors", "bridge.settings"}, set()),
    "bridge.templates": (CORE | PORTS | {"bridge.profiles"}, {"uritemplate"}),
    "bridge.body": (set(), {"aiohttp", "httpx"}),
    "bridge.exchange": (CORE | {"bridge.body", "bridge.profiles", "bridge.templates"}, {"aiohttp", "httpx"}),
    "bridge.backend": (
        CORE | PORTS | {"bridge.body", "bridge.exchange", "bridge.profiles", "bridge.templates"},
        {"aiohttp", "httpx", "httpx_aiohttp"},
    ),
    "bridge.listener": (CORE | PORTS | {"bridge.relay", "bridge.rooms"}, set()),
    "bridge.caller": (set(), {"aiohttp"}),
    "bridge.headers": (set(), {"aiohttp", "multidict"}),
    "bridge.failures": (set(), {"aiohttp"}),
    "bridge.passed": ({"bridge.failures", "bridge.headers"}, {"aiohttp"}),
    "bridge.proxy": (
        {"bridge.caller", "bridge.failures", "bridge.headers", "bridge.passed"},
        {"aiohttp", "multidict", "yarl"},
    ),
    "bridge.answers": (
        CORE
        | PORTS
        | {"bridge.backend", "bridge.failures", "bridge.profiles", "bridge.proxy", "bridge.templates"},
        {"aiohttp"},
    ),
    "bridge.auth": (CORE | PORTS, {"jwt"}),
    "bridge.jwks": (CORE | {"bridge.auth"}, {"httpx", "jwt"}),
    "bridge.membership": (CORE | PORTS | {"bridge.profiles", "bridge.templates"}, {"httpx"}),
    "bridge.siblings": (set(), {"aiohttp"}),
    "bridge.listening": (
        {"bridge.failures", "bridge.http_server", "bridge.passed", "bridge.proxy"},
        {"aiohttp"},
    ),
    "bridge.http_server": ({"bridge.errors", "bridge.failures"}, {"aiohttp"}),
    "bridge.border": (  # a part of the composition root
        CORE
        | PORTS
        | {"bridge.admission", "bridge.auth", "bridge.jwks", "bridge.membership"}
        | {"bridge.profiles", "bridge.settings"},
        {"aiohttp"},
    ),
    "bridge.operators": (  # a part of the composition root
        CORE | PORTS | {"bridge.doors.admin", "bridge.doors.figures", "bridge.metrics", "bridge.settings"},
        {"aiohttp"},
    ),
    "bridge.shared": (  # a part of the composition root
        CORE
        | PORTS
        | {"bridge.copies", "bridge.node_cluster", "bridge.openfeature", "bridge.redis_client"}
        | {"bridge.settings", "bridge.stores.memory", "bridge.stores.redis", "bridge.stores.redis_flag"},
        set(),
    ),
    "bridge.other_servers": (  # a part of the composition root
        PORTS
        | {"bridge.cluster_lines", "bridge.doors.cluster_servers", "bridge.doors.node_servers"}
        | {"bridge.everywhere", "bridge.settings", "bridge.shared"}
        | {"bridge.sockets.crowd", "bridge.sockets.manager"},
        set(),
    ),
    "bridge.telemetry": (CORE | PORTS, {"structlog"}),
    "bridge.witnesses": (CORE | PORTS, set()),
    "bridge.metrics": (CORE | PORTS, {"prometheus_client"}),
    "bridge.settings": ({"bridge.errors"}, set()),
    "bridge.sockets.line": (set(), set()),
    "bridge.sockets.encoder": (CORE | {"bridge.sockets.line"}, {"engineio"}),
    "bridge.sockets.direct": ({"bridge.sockets.line"}, {"aiohttp", "engineio"}),
    "bridge.sockets.burst": (CORE | {"bridge.sockets.line"}, set()),
    "bridge.sockets.device": (
        CORE | PORTS | {"bridge.sockets.burst", "bridge.sockets.encoder", "bridge.sockets.line"},
        set(),
    ),
    "bridge.sockets.confirmations": (CORE | PORTS | {"bridge.sockets.device"}, set()),
    "bridge.sockets.manager": (CORE | PORTS, {"socketio"}),
    "bridge.http_wire": (CORE | {"bridge.failures"}, {"aiohttp"}),
    "bridge.gate": (
        CORE | {"bridge.admission", "bridge.auth", "bridge.guest", "bridge.http_wire"},
        {"aiohttp"},
    ),
    "bridge.event_stream": (CORE | {"bridge.http_wire", "bridge.queued_device"}, {"aiohttp"}),
    "bridge.doors.websocket": (WIRE, {"aiohttp"}),
    "bridge.doors.sse": (WIRE, {"aiohttp"}),
    "bridge.doors.ask": (WIRE, {"aiohttp"}),
    "bridge.doors.ui_stream": (WIRE, {"aiohttp"}),
    "bridge.sockets.crowd": (
        CORE | {"bridge.node_answers", "bridge.node_cluster", "bridge.rooms", "bridge.sockets.device"},
        {"engineio", "socketio"},
    ),
    "bridge.sockets.obliging": (
        CORE | PORTS | {"bridge.node_answers", "bridge.node_cluster", "bridge.sockets.crowd"},
        set(),
    ),
    "bridge.doors.node_servers": (
        CORE
        | PORTS
        | {"bridge.copies", "bridge.everywhere", "bridge.node_answers", "bridge.node_cluster"}
        | {"bridge.redis_client", "bridge.sockets.crowd", "bridge.sockets.obliging"},
        set(),
    ),
    "bridge.doors.cluster_servers": (
        CORE
        | PORTS
        | {"bridge.cluster_adapter", "bridge.cluster_lines", "bridge.node_answers", "bridge.node_cluster"}
        | {"bridge.node_requests", "bridge.sockets.crowd", "bridge.sockets.obliging"},
        set(),
    ),
    "bridge.doors.figures": ({"bridge.failures", "bridge.metrics"}, {"aiohttp"}),
    "bridge.doors.drop_in": (
        CORE
        | PORTS
        | MIDDLE
        | {"bridge.answers", "bridge.caller", "bridge.failures", "bridge.headers", "bridge.profiles"}
        | {"bridge.proxy", "bridge.templates"},
        {"aiohttp"},
    ),
    "bridge.sockets.engine": (
        {
            "bridge.sockets.direct",
            "bridge.sockets.intake",
            "bridge.sockets.line",
            "bridge.sockets.packets",
        },
        {"aiohttp", "engineio"},
    ),
    "bridge.sockets.intake": (
        CORE | {"bridge.failures", "bridge.http_server", "bridge.siblings", "bridge.sockets.packets"},
        {"aiohttp", "engineio"},
    ),
    "bridge.sockets.packets": (set(), {"engineio", "socketio"}),
    "bridge.sockets.admin_ui": (CORE | PORTS | {"bridge.sockets.server"}, set()),
    "bridge.sockets.server": (PORTS | {"bridge.sockets.line", "bridge.sockets.packets"}, {"socketio"}),
    "bridge.doors.namespace": (
        CORE | PORTS | MIDDLE | SOCKETS | {"bridge.auth"},
        {"socketio"},
    ),
    "bridge.doors.health": ({"bridge.readiness"}, {"aiohttp"}),
    "bridge.doors.admin": (CORE | PORTS | {"bridge.failures", "bridge.http_server"}, {"aiohttp"}),
    "bridge.doors.page": (set(), {"aiohttp"}),
    "bridge.commands.collector": (set(), set()),
    "bridge.commands.serve": (
        {"bridge.app", "bridge.profiles", "bridge.settings", "bridge.telemetry", "bridge.commands.collector"},
        set(),
    ),
    "bridge.commands.processes": (
        {"bridge.app", "bridge.errors", "bridge.http_server", "bridge.profiles", "bridge.settings"}
        | {"bridge.telemetry", "bridge.commands.children", "bridge.commands.serve"},
        set(),
    ),
    "bridge.commands.doctor": (
        CORE
        | PORTS
        | {"bridge.answers", "bridge.app", "bridge.backend", "bridge.exchange", "bridge.profiles"}
        | {"bridge.commands.chat_servers", "bridge.commands.comparison", "bridge.settings"}
        | {"bridge.templates"},
        set(),
    ),
    "bridge.commands.chat_servers": (
        {"bridge.errors", "bridge.node_cluster", "bridge.redis_client", "bridge.settings"},
        set(),
    ),
    "bridge.commands.flag": (
        CORE
        | PORTS
        | {"bridge.redis_client", "bridge.remote_flag", "bridge.settings", "bridge.stores.redis_flag"},
        set(),
    ),
    "bridge.commands.comparison": (set(), set()),
    "bridge.commands.proof": (set(), {"httpx", "socketio"}),  # real clients, as a user has them
    "bridge.commands.children": ({"bridge.errors"}, {"httpx"}),
    "bridge.commands.redis_server": ({"bridge.commands.children"}, set()),
    "bridge.commands.cluster": (
        {"bridge.settings", "bridge.commands.children", "bridge.commands.redis_server"},
        set(),
    ),
    "bridge.commands.config": ({"bridge.app", "bridge.profiles", "bridge.settings"}, set()),
    "bridge.commands.documents": ({"bridge.asyncapi", "bridge.openapi", "bridge.typescript"}, set()),
    "bridge.commands.scroll": (set(), set()),
    "bridge.commands.tokens": ({"bridge.errors"}, set()),
    "bridge.commands.tail": (
        CORE
        | {"bridge.settings", "bridge.commands.device", "bridge.commands.scroll"}
        | {"bridge.commands.serve", "bridge.commands.tokens"},
        set(),
    ),
    "bridge.commands.reference": ({"bridge.commands.children"}, set()),
    "bridge.commands.device": (CORE | {"bridge.settings"}, {"aiohttp", "engineio", "socketio"}),
    "bridge.commands.validation.heard": (set(), set()),
    "bridge.commands.validation.verdict": ({"bridge.commands.validation.heard"}, set()),
    "bridge.commands.validation.report": ({"bridge.commands.validation.verdict"}, set()),
    "bridge.commands.validation.drawing": (set(), set()),
    "bridge.commands.validation.picture": (
        {"bridge.commands.validation.drawing", "bridge.commands.validation.verdict"},
        set(),
    ),
    "bridge.commands.validation.loan": (CORE | PORTS, set()),
    "bridge.commands.validation.load": (
        CORE | {"bridge.settings", "bridge.commands.device", "bridge.commands.validation.heard"},
        set(),
    ),
    "bridge.commands.validation.measured": (
        {"bridge.commands.validation.load", "bridge.commands.validation.picture"}
        | {"bridge.commands.validation.report", "bridge.commands.validation.verdict"},
        set(),
    ),
    "bridge.commands.validation.arguments": (
        CORE
        | {"bridge.commands.tokens", "bridge.commands.validation.load"}
        | {"bridge.commands.validation.verdict"},
        set(),
    ),
    "bridge.commands.validate": (
        CORE
        | {"bridge.profiles", "bridge.remote_flag", "bridge.settings"}
        | {"bridge.commands.children", "bridge.commands.cluster", "bridge.commands.device"}
        | {"bridge.commands.reference", "bridge.commands.serve", "bridge.commands.tokens"}
        | {f"bridge.commands.validation.{part}" for part in ("arguments", "load", "loan", "measured")}
        | {"bridge.commands.validation.report", "bridge.commands.validation.verdict"},
        set(),
    ),
    "bridge.commands.trouble": (
        CORE
        | {"bridge.failures", "bridge.http_server", "bridge.http_wire"}
        | {"bridge.commands.children", "bridge.commands.cluster"},
        {"aiohttp", "httpx"},
    ),
    "bridge.commands.cluster_proof": ({"bridge.commands.cluster", "bridge.commands.proof"}, {"httpx"}),
    "bridge.commands.demo": (  # demo is serve, the proofs and their processes together
        {
            "bridge.app",
            "bridge.http_server",
            "bridge.profiles",
            "bridge.settings",
            "bridge.telemetry",
            "bridge.commands.children",
            "bridge.commands.cluster",
            "bridge.commands.cluster_proof",
            "bridge.commands.proof",
            "bridge.commands.redis_server",
            "bridge.commands.reference",
            "bridge.commands.serve",
            "bridge.commands.trouble",
        },
        set(),
    ),
}
ANYTHING = {"bridge.app", "bridge.http_doors", "bridge.__main__"}
FUNCTION_MEDIAN, MODULE_MEDIAN, MODULE_LIMIT = 9, 120, 400


def name_of(file):
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    name_of(file): file for package in ("bridge", "backend_stub") for file in (ROOT / package).rglob("*.py")
}


def imports(source):
    """Return the modules that ``source`` imports, `from a import b` as a.b where that is a module of ours."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & set(MODULES)) or {node.module}
    return found


def violations(name, source):
    """Return what the module ``name`` imports and may not."""
    ours, theirs = TABLE[name]
    wrong = set()
    for module in imports(source):
        top = module.partition(".")[0]
        allowed = (
            module in ours | {"bridge"} if top == "bridge"
            else top in theirs or (top in sys.stdlib_module_names and not (name in CORE and top in IMPURE))
        )  # fmt: skip
        if not allowed:
            wrong.add(module)
    return wrong


def functions(file):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, kinds)]
    return [node.end_lineno - node.lineno + 1 for node in found]


def test_the_table_knows_every_module():
    packages = {"bridge", "bridge.commands", "bridge.commands.validation"}
    packages |= {"bridge.doors", "bridge.sockets", "bridge.stores"}
    bridge = {name for name in MODULES if name.startswith("bridge")}
    assert bridge - packages == set(TABLE) | ANYTHING


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_module_imports_only_what_its_layer_may(name):
    assert not violations(name, MODULES[name].read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("bridge.turn", "import asyncio"),
        ("bridge.turn", "from bridge.relay import Relay"),
        ("bridge.dialects.ui_message", "import httpx"),
        ("bridge.relay", "from bridge.stores import memory"),
        ("bridge.relay", "import aiohttp"),
        ("bridge.doors.health", "from bridge.doors import admin"),
        ("bridge.doors.page", "from bridge.settings import Settings"),
        ("bridge.backend", "import backend_stub"),
    ],
)
def test_a_planted_violation_is_found(name, planted):
    assert violations(name, planted)


def test_the_bridge_and_the_reference_backend_never_see_each_other():
    for name, file in MODULES.items():
        other = "backend_stub" if name.startswith("bridge") else "bridge"
        assert not {
            module for module in imports(file.read_text("utf-8")) if module.partition(".")[0] == other
        }


@pytest.mark.parametrize("package", ["bridge", "backend_stub"])
def test_modules_and_functions_stay_small(package):
    files = [file for name, file in MODULES.items() if name.startswith(package)]
    lines = [len(file.read_text("utf-8").splitlines()) for file in files]
    assert max(lines) <= MODULE_LIMIT
    assert statistics.median(lines) <= MODULE_MEDIAN
    assert statistics.median(size for file in files for size in functions(file)) <= FUNCTION_MEDIAN
