"""Tokens and addresses on the command line: where processes are listed, everybody reads what stands there."""

from pathlib import Path
from urllib.parse import urlsplit

from bridge.errors import SettingsError


def read_token(given: str) -> str:
    """Return a token; ``@FILE`` is what the file holds. Raises `SettingsError`."""
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text("utf-8").strip()
    except (OSError, ValueError) as exc:
        raise SettingsError(f"unable to read a token from {given[1:]}; {type(exc).__name__}") from exc


def read_url(given: str) -> str:
    """Return the address of a bridge, which may be printed: it holds no secret. Raises `SettingsError`."""
    try:
        url = urlsplit(given)
        plain = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        plain = False
    if not plain or "@" in given or "?" in given:
        raise SettingsError(
            "unable to use the address; it must look like http://host:port, no user, no query"
        )
    return given.rstrip("/")
