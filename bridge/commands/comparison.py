"""Compares two JSON values by their shape: which keys there are, and of what types."""

from typing import Any


def differences(given: Any, wanted: Any, at: str = "") -> list[str]:
    """Return where the keys and types of ``given`` are not those of ``wanted``."""
    if type(given) is not type(wanted):
        return [f"{at or '/'} is {_kind(given)} and not {_kind(wanted)}"]
    if isinstance(given, list):
        return [
            each
            for pair in zip(given[:1], wanted[:1], strict=False)
            for each in differences(*pair, f"{at}/0")
        ]
    if not isinstance(given, dict):
        return []
    found = [f"{at}/{name} is missing" for name in sorted(wanted.keys() - given.keys())]
    found += [f"{at}/{name} is one too many" for name in sorted(given.keys() - wanted.keys())]
    for name in sorted(given.keys() & wanted.keys()):
        found += differences(given[name], wanted[name], f"{at}/{name}")
    return found


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
