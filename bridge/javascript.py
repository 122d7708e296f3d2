"""Values as JavaScript has them, in MessagePack and JSON, so that notepack.io and JSON.parse can read them.

Raises `ClusterMalformed` and nothing else, whatever is given.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgpack

from bridge.errors import ClusterMalformed

DEPTH_LIMIT = 100
SIZE_LIMIT_BYTES = 8 * 1024 * 1024
"""A message is not read that is larger, or nested more deeply."""

_INT64 = range(-(2**63), 2**64)
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_FAULTS = (ValueError, TypeError, OverflowError, RecursionError)


def packed(value: Any) -> bytes:
    """Return ``value`` as MessagePack."""
    return _said(msgpack.packb, value)


def as_json(value: Any) -> bytes:
    """Return ``value`` as JSON."""
    return _said(lambda said: _JSON.encode(said).encode(), value)


def as_json_or_packed(value: Any) -> bytes:
    """Return ``value`` as JSON, and only where that cannot hold it, as MessagePack."""
    try:
        return as_json(value)
    except ClusterMalformed:
        return packed(value)


def unpacked(data: bytes) -> Any:
    """Return what MessagePack says, as a client may have it: JSON, and bytes."""
    _check_size(data)
    try:
        return _heard(msgpack.unpackb(data, strict_map_key=False, timestamp=3), 0)
    except (*_FAULTS, msgpack.UnpackException) as exc:
        raise ClusterMalformed(f"unable to read a message; {type(exc).__name__}") from exc


def from_json(data: bytes) -> Any:
    """Return what JSON says."""
    _check_size(data)
    try:
        return _heard(_sayable(json.loads(data)), 0)
    except _FAULTS as exc:
        raise ClusterMalformed(f"unable to read a message; {type(exc).__name__}") from exc


def _said(make: Callable[[Any], Any], value: Any) -> bytes:
    try:
        try:
            return bytes(make(value))
        except (ValueError, OverflowError, TypeError):
            return bytes(make(_sayable(value)))
    except _FAULTS as exc:
        raise ClusterMalformed(f"unable to say it to other servers; {type(exc).__name__}") from exc


def _check_size(data: bytes) -> None:
    if len(data) > SIZE_LIMIT_BYTES:
        raise ClusterMalformed(f"unable to read a message; it has {len(data)} bytes")


def _sayable(value: Any) -> Any:
    """Return ``value`` without what the other side has not: half surrogate pairs, wider integers, NaN."""
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case int() if value not in _INT64:
            return float(value)
        case Mapping():
            return {_sayable(str(name)): _sayable(each) for name, each in value.items()}
        case list() | tuple():
            return [_sayable(each) for each in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _heard(value: Any, depth: int) -> Any:
    """Return ``value`` as a client may have it: JSON, and bytes."""
    if depth > DEPTH_LIMIT:
        raise ClusterMalformed("unable to read a message; it is nested too deeply")
    if isinstance(value, dict):
        return {
            name if isinstance(name, str) else str(name): _heard(each, depth + 1)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_heard(each, depth + 1) for each in value]
    make = _HEARD.get(type(value))
    return make(value) if make else value


def _extension(value: Any) -> bytes:
    if value.code == 0:  # an ArrayBuffer, as older versions said it
        return bytes(value.data)
    raise ClusterMalformed("unable to read a message; it holds a type of its own")


def _date(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_HEARD: Mapping[type, Callable[[Any], Any]] = {
    float: lambda value: value if math.isfinite(value) else None,
    datetime: _date,
    msgpack.ExtType: _extension,
}
