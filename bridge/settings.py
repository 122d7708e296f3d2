"""The settings: the environment first, then ``config/bridge.toml``, then the defaults below.

Every key is a field here; unknown ones are refused with the nearest name, because a setting that is
spelled wrong and silently ignored is found at night.
"""

import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bridge.errors import SettingsError

_TRUE = frozenset({"1", "true", "on", "yes"})
_FALSE = frozenset({"0", "false", "off", "no", ""})
_HTTP_PORTS = range(65536)
NODE_ADAPTERS = ("auto", "on", "off", "sharded", "streams")
_DROP_IN = ("auto", "on", "off")
_GUARDS = ("off", "dry-run", "on")
GUARD_ALERTS = ("BridgeTurnsFail", "BridgeFirstTextSlow", "BridgeTextDiffers")
_MODES = ("", "development", "production")
_AUTHS = ("", "jwt", "closed", "none")
HUNDRED = 100
HIDDEN = "(hidden)"
"""What is shown in the place of a secret."""
SECRET_BYTES = 32
"""HS256 is as strong as its secret: RFC 7518, 3.2."""


def _key(env: str, default: Any, alias: str = "", *, secret: bool = False, zero: bool = False) -> Any:
    names = (env, alias) if alias else (env,)
    return field(default=default, repr=not secret, metadata={"env": names, "zero": zero})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ops can set; ``config/bridge.toml`` explains each. Durations are seconds, sizes bytes."""

    host: str = _key("HOST", "127.0.0.1")
    port: int = _key("PORT", 8080)
    processes: int = _key("BRIDGE_PROCESSES", 1)
    backend_url: str = _key("BACKEND_URL", "http://127.0.0.1:5100")
    chat_streaming_enabled: bool = _key("CHAT_STREAMING_ENABLED", default=False, alias="FEATURE_STREAMING")
    flag_provider: str = _key("BRIDGE_FLAG_PROVIDER", "")
    backend_profile: str = _key("BRIDGE_BACKEND_PROFILE", "default")
    dialect: str = _key("BRIDGE_DIALECT", "auto")
    connect_s: float = _key("BRIDGE_CONNECT_S", 3.0)
    first_delta_s: float = _key("BRIDGE_FIRST_DELTA_S", 10.0)
    stall_s: float = _key("BRIDGE_STALL_S", 15.0)
    turn_s: float = _key("BRIDGE_TURN_S", 120.0)
    turns_per_room: int = _key("BRIDGE_TURNS_PER_ROOM", 4)
    max_content_bytes: int = _key("BRIDGE_MAX_CONTENT_BYTES", 32768)
    max_answer_bytes: int = _key("BRIDGE_MAX_ANSWER_BYTES", 1024 * 1024)
    resume_window_s: float = _key("BRIDGE_RESUME_WINDOW_S", 600.0)
    drop_in: str = _key("BRIDGE_DROP_IN", "auto")
    drop_in_port: int = _key("BRIDGE_DROP_IN_PORT", 0)
    proxy_silence_s: float = _key("BRIDGE_PROXY_SILENCE_S", 600.0)
    redis_url: str = _key("REDIS_URL", "", secret=True)
    redis_prefix: str = _key("BRIDGE_REDIS_PREFIX", "bridge:")
    node_adapter: str = _key("BRIDGE_NODE_ADAPTER", "auto")
    node_adapter_key: str = _key("BRIDGE_NODE_ADAPTER_KEY", "socket.io")
    python_channel: str = _key("BRIDGE_PYTHON_CHANNEL", "")
    lease_s: float = _key("BRIDGE_LEASE_S", 2.0)
    drain_s: float = _key("BRIDGE_DRAIN_S", 4.0)
    ping_interval_s: float = _key("BRIDGE_PING_INTERVAL_S", 25.0)
    ping_timeout_s: float = _key("BRIDGE_PING_TIMEOUT_S", 20.0)
    device_backlog: int = _key("BRIDGE_DEVICE_BACKLOG", 2048)
    device_stuck_s: float = _key("BRIDGE_DEVICE_STUCK_S", 20.0)
    fast_path: bool = _key("BRIDGE_FAST_PATH", default=True)
    mode: str = _key("BRIDGE_MODE", "")
    origins: tuple[str, ...] = _key("BRIDGE_ORIGINS", ())
    admin_port: int = _key("BRIDGE_ADMIN_PORT", 0)
    ready_backend_path: str = _key("BRIDGE_READY_BACKEND_PATH", "")
    admin_url: str = _key("BRIDGE_ADMIN_URL", "")
    auth: str = _key("BRIDGE_AUTH", "")
    jwt_secret: str = _key("BRIDGE_JWT_SECRET", "", secret=True)
    jwks_url: str = _key("BRIDGE_JWKS_URL", "")
    jwt_issuer: str = _key("BRIDGE_JWT_ISSUER", "")
    jwt_audience: str = _key("BRIDGE_JWT_AUDIENCE", "")
    rooms_claim: str = _key("BRIDGE_ROOMS_CLAIM", "rooms")
    membership_ttl_s: float = _key("BRIDGE_MEMBERSHIP_TTL_S", 10.0)
    removal_s: float = _key("BRIDGE_REMOVAL_S", 3600.0)
    trusted_proxies: tuple[str, ...] = _key("BRIDGE_TRUSTED_PROXIES", ())
    events_per_second: float = _key("BRIDGE_EVENTS_PER_SECOND", 10.0)
    events_burst: int = _key("BRIDGE_EVENTS_BURST", 20)
    rooms_per_device: int = _key("BRIDGE_ROOMS_PER_DEVICE", 100)
    connections_per_user: int = _key("BRIDGE_CONNECTIONS_PER_USER", 20)
    connections_per_address: int = _key("BRIDGE_CONNECTIONS_PER_ADDRESS", 20_000)
    turns_per_user: int = _key("BRIDGE_TURNS_PER_USER", 20)
    turns_per_node: int = _key("BRIDGE_TURNS_PER_NODE", 2000)
    handshake_s: float = _key("BRIDGE_HANDSHAKE_S", 5.0)
    header_s: float = _key("BRIDGE_HEADER_S", 10.0)
    body_s: float = _key("BRIDGE_BODY_S", 10.0)
    guard: str = _key("BRIDGE_GUARD", "on")
    guard_window_s: float = _key("BRIDGE_GUARD_WINDOW_S", 300.0)
    guard_sample: int = _key("BRIDGE_GUARD_SAMPLE", 50)
    guard_errors_percent: float = _key("BRIDGE_GUARD_ERRORS_PERCENT", 1.0)
    guard_first_text_s: float = _key("BRIDGE_GUARD_FIRST_TEXT_S", 1.5)
    guard_completion_s: float = _key("BRIDGE_GUARD_COMPLETION_S", 8.0)
    guard_integrity_percent: float = _key("BRIDGE_GUARD_INTEGRITY_PERCENT", 1.0)
    guard_unconfirmed_percent: float = _key("BRIDGE_GUARD_UNCONFIRMED_PERCENT", 5.0)
    guard_half_open_percent: int = _key("BRIDGE_GUARD_HALF_OPEN_PERCENT", 0, zero=True)
    guard_rest_s: float = _key("BRIDGE_GUARD_REST_S", 600.0)
    guard_webhook: str = _key("BRIDGE_GUARD_WEBHOOK", "", secret=True)
    guard_alerts: tuple[str, ...] = _key("BRIDGE_GUARD_ALERTS", GUARD_ALERTS)
    confirm_percent: float = _key("BRIDGE_CONFIRM_PERCENT", 0.0, zero=True)
    confirm_s: float = _key("BRIDGE_CONFIRM_S", 5.0)
    admin_token: str = _key("BRIDGE_ADMIN_TOKEN", "", secret=True)
    metrics_token: str = _key("BRIDGE_METRICS_TOKEN", "", secret=True)
    admin_ui: bool = _key("BRIDGE_ADMIN_UI", default=False)
    admin_ui_user: str = _key("BRIDGE_ADMIN_UI_USER", "")
    admin_ui_password: str = _key("BRIDGE_ADMIN_UI_PASSWORD", "", secret=True)
    join_event: str = _key("BRIDGE_JOIN_EVENT", "join_room")
    leave_event: str = _key("BRIDGE_LEAVE_EVENT", "leave_room")
    send_event: str = _key("BRIDGE_SEND_EVENT", "send_message")
    new_message_event: str = _key("BRIDGE_NEW_MESSAGE_EVENT", "new_message")
    show_reasoning: bool = _key("BRIDGE_SHOW_REASONING", default=False)
    otel: bool = _key("BRIDGE_OTEL", default=False)
    demo: bool = _key("BRIDGE_DEMO", default=False)

    def __post_init__(self) -> None:
        if not _is_web_address(self.backend_url):
            _refuse_url("BACKEND_URL", "http://host:port")
        if self.node_adapter not in NODE_ADAPTERS:
            _refuse("BRIDGE_NODE_ADAPTER", self.node_adapter, f"it must be one of {', '.join(NODE_ADAPTERS)}")
        if self.admin_url and not _is_web_address(self.admin_url):
            _refuse_url("BRIDGE_ADMIN_URL", "http://host:port")
        ports = {"PORT": self.port, "BRIDGE_DROP_IN_PORT": self.drop_in_port}
        for env, port in {**ports, "BRIDGE_ADMIN_PORT": self.admin_port}.items():
            if port not in _HTTP_PORTS:
                _refuse(env, port, "it must be 0 to 65535")
        if self.drop_in not in _DROP_IN:
            _refuse("BRIDGE_DROP_IN", self.drop_in, "it must be auto, on or off")
        self._check_guard()
        self._check_numbers()
        self._check_processes()
        self._check_auth()

    def _check_numbers(self) -> None:
        for each in fields(self):
            value, env = getattr(self, each.name), each.metadata["env"][0]
            if each.metadata["zero"] and not value:
                continue
            if each.type in (float, "float") and not (math.isfinite(value) and value > 0):
                unit = " seconds" if each.name.endswith("_s") else ""
                _refuse(env, value, f"it must be more than 0{unit}")
            if each.type in (int, "int") and not each.name.endswith("port") and value < 1:
                _refuse(env, value, "it must be 1 or more")
            if each.name.endswith("_percent") and value > HUNDRED:
                _refuse(env, value, "it must be 100 or less")

    def _check_processes(self) -> None:
        if self.processes == 1:
            return
        if not self.redis_url:
            why = "it needs REDIS_URL: without it each process has its own rooms"
            _refuse("BRIDGE_PROCESSES", self.processes, why)
        of_admin = range(self.admin_port, self.admin_port + self.processes) if self.admin_port else range(0)
        if of_admin and (of_admin[-1] not in _HTTP_PORTS or {self.port, self.drop_in_port} & {*of_admin}):
            why = f"{self.processes} processes take a port each, from there on, and one cannot be had"
            _refuse("BRIDGE_ADMIN_PORT", self.admin_port, why)

    def _check_guard(self) -> None:
        if self.guard not in _GUARDS:
            _refuse("BRIDGE_GUARD", self.guard, "it must be on, dry-run or off")
        if self.guard_webhook and not _is_web_address(self.guard_webhook):
            _refuse_url("BRIDGE_GUARD_WEBHOOK", "https://host/path")

    @property
    def address(self) -> str:
        """Where this machine finds the bridge of these settings."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def _check_auth(self) -> None:
        if self.mode not in _MODES:
            _refuse("BRIDGE_MODE", self.mode, "it must be development or production")
        if self.auth not in _AUTHS:
            _refuse("BRIDGE_AUTH", self.auth, "it must be jwt, closed or none")
        if self.auth == "jwt" and bool(self.jwt_secret) == bool(self.jwks_url):
            _refuse("BRIDGE_AUTH", self.auth, "it needs one of BRIDGE_JWT_SECRET and BRIDGE_JWKS_URL")
        if self.jwt_secret and len(self.jwt_secret.encode()) < SECRET_BYTES:
            raise SettingsError(f"unable to use BRIDGE_JWT_SECRET; it must be {SECRET_BYTES} bytes or more")
        if self.admin_ui and not (self.admin_ui_user and self.admin_ui_password):
            _refuse("BRIDGE_ADMIN_UI", "on", "it needs BRIDGE_ADMIN_UI_USER and BRIDGE_ADMIN_UI_PASSWORD")
        if self.jwks_url and not _is_web_address(self.jwks_url):
            _refuse_url("BRIDGE_JWKS_URL", "https://host/path")


def _is_web_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def without_credentials(url: str) -> str:
    """Return ``url`` without user, password and query; hidden altogether where they cannot be told apart."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    place = parts.netloc.rpartition("@")[2]
    torn = "@" in parts.path + parts.query + parts.fragment  # a password with a / or a # in it
    return HIDDEN if torn or not parts.scheme else f"{parts.scheme}://{place}{parts.path}"


def load(
    environ: Mapping[str, str],
    file: Path | None = None,
    below: Mapping[str, Any] | None = None,
    **given: Any,
) -> Settings:
    """Return the settings: ``given`` (the command line) before the environment, that before ``file``.

    ``below`` is what a backend's profile says, which stands before the defaults only. Raises `SettingsError`.
    """
    chosen: dict[str, Any] = {}
    for _, values in _layers(environ, file, below or {}, given):
        chosen |= values
    return Settings(**chosen)


def sources(
    environ: Mapping[str, str], file: Path | None = None, below: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return where each setting comes from: default, profile, file or environment; see `load`."""
    found = {each.name: "default" for each in fields(Settings)}
    for source, values in _layers(environ, file, below or {}, {}):
        found |= dict.fromkeys(values, source)
    return found


def _layers(
    environ: Mapping[str, str], file: Path | None, below: Mapping[str, Any], given: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what is set and by what, the weakest first."""
    known = {each.name: each for each in fields(Settings)}
    least = {name: _typed(known[name], name, value) for name, value in below.items()}
    return [
        ("profile", least),
        ("file", _from_file(file)),
        ("environment", _from_environment(environ)),
        ("command line", given),
    ]


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives ``settings`` to another process."""
    return {each.metadata["env"][0]: _written(getattr(settings, each.name)) for each in fields(Settings)}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def config_dir() -> Path:
    """Return the folder ``config`` of the current folder, else the one beside the package."""
    here = Path("config")
    return here if here.is_dir() else Path(__file__).resolve().parent.parent / "config"


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    known = {each.name: each for each in fields(Settings)}
    chosen = {}
    for name, value in read_toml(file).items():
        if name not in known:
            raise SettingsError(f"unable to use {file}; {_nearest(name, known)}")
        chosen[name] = _typed(known[name], name, value)
    return chosen


def read_toml(file: Path) -> dict[str, Any]:
    """Return what ``file`` holds. Raises `SettingsError` when it cannot be read."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise SettingsError(f"unable to read {file}; {exc}") from exc


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {env: each for each in fields(Settings) for env in each.metadata["env"]}
    for name in environ:
        if name.startswith("BRIDGE_") and name not in known and not name.startswith("BRIDGE_TESTS_"):
            raise SettingsError(f"unable to use the environment; {_nearest(name, known)}")
    chosen = {}
    for env in reversed(known):  # so that a name stands before its alias
        if env in environ:
            chosen[known[env].name] = _typed(known[env], env, environ[env])
    return chosen


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"there is no setting {name}" + (f", did you mean {near[0]}?" if near else "")


def _typed(each: Any, name: str, value: Any) -> Any:
    kind = typing.get_type_hints(Settings)[each.name]
    try:
        if isinstance(kind, types.GenericAlias):
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(part.strip() for part in parts if part.strip())
        return _boolean(value) if kind is bool else kind(value)
    except (ValueError, TypeError, AttributeError):
        return _refuse(name, value, f"it must be {_SPOKEN[kind]}")


_SPOKEN = {int: "a whole number", float: "a number", bool: "on or off", str: "a text"}


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(word)
    return word in _TRUE


def _refuse(name: str, value: object, why: str) -> typing.NoReturn:
    raise SettingsError(f"unable to use {name}={value!r}; {why}")


def _refuse_url(name: str, alike: str) -> typing.NoReturn:
    """Say what would do, and not what is there: an address may hold a password."""
    raise SettingsError(f"unable to use {name}; it must look like {alike}")
