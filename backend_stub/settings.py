"""The settings of the reference backend, from the environment."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from backend_stub.errors import SettingError
from backend_stub.faults import parse
from backend_stub.model import Pace

_PORT_LIMIT = 65535
_GRACE_LIMIT_S = 3600
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; ``grace_s`` is how long an answer goes on with no caller attached.

    ``port`` 0 takes a free one. Raises `SettingError` when a value cannot be used.
    """

    host: str = "127.0.0.1"
    port: int = 5100
    database_url: str = "sqlite+aiosqlite:///backend_stub.sqlite3"
    pace: Pace = field(default_factory=Pace)
    fault: str = "none"
    grace_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _PORT_LIMIT:
            raise SettingError(f"unable to use PORT; it must be from 0 to {_PORT_LIMIT}")
        if math.isnan(self.grace_s) or not 0 <= self.grace_s <= _GRACE_LIMIT_S:
            raise SettingError(f"unable to use BACKEND_STUB_GRACE_S; it must be from 0 to {_GRACE_LIMIT_S}")
        parse(self.fault)


def from_environment(
    environment: Mapping[str, str], *, host: str | None = None, port: str | None = None
) -> Settings:
    """Return the settings that ``environment`` gives; ``host`` and ``port`` go before it."""
    said = {name: value for name, value in environment.items() if value}
    said |= {name: value for name, value in (("HOST", host), ("PORT", port)) if value is not None}
    plain = Settings()
    return Settings(
        host=said.get("HOST", plain.host),
        port=_number(said, "PORT", int, plain.port),
        database_url=said.get("BACKEND_STUB_DATABASE_URL", plain.database_url),
        pace=_pace(said, plain.pace),
        fault=said.get("BACKEND_STUB_FAULT", plain.fault),
        grace_s=_number(said, "BACKEND_STUB_GRACE_S", float, plain.grace_s),
    )


def _pace(said: Mapping[str, str], plain: Pace) -> Pace:
    tokens = _number(said, "BACKEND_STUB_TOKENS", int, plain.tokens)
    tokens_per_s = _number(said, "BACKEND_STUB_TOKENS_PER_S", float, plain.tokens_per_s)
    first_token_s = _number(said, "BACKEND_STUB_FIRST_TOKEN_S", float, plain.first_token_s)
    try:
        return Pace(tokens, tokens_per_s, first_token_s)
    except ValueError as exc:
        raise SettingError(f"unable to use the BACKEND_STUB_ settings of pace; {exc}") from exc


def _number(said: Mapping[str, str], name: str, read: Callable[[str], _Number], plain: _Number) -> _Number:
    if name not in said:
        return plain
    try:
        return read(said[name])
    except ValueError as exc:
        raise SettingError(f"unable to use {name}; {said[name]!r} is no number") from exc
