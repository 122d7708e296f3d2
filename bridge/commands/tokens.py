"""Tokens on the command line: where processes are listed, everybody reads what stands there."""

from pathlib import Path

from bridge.errors import SettingsError


def read_token(given: str) -> str:
    """Return a token; ``@FILE`` is what the file holds. Raises `SettingsError`."""
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text("utf-8").strip()
    except (OSError, ValueError) as exc:
        raise SettingsError(f"unable to read a token from {given[1:]}; {type(exc).__name__}") from exc
