"""Which pages may connect: a browser says in ``Origin`` what page asks; websockets have no other guard."""

import re
from collections.abc import Iterable

ANY = "*"
_ORIGIN = re.compile(r"https?://[^/\s?#@*]+")


def is_origin(text: str) -> bool:
    """Return whether ``text`` is an origin as a browser says it (RFC 6454): scheme, host, port, no path."""
    return bool(_ORIGIN.fullmatch(text)) and text == text.lower()


class Origins:
    """The pages that may connect: those ``named``, all of them for ``*``, and of the same host for none."""

    def __init__(self, named: Iterable[str]) -> None:
        self._named = frozenset(named)

    def allow(self, origin: str | None, host: str) -> bool:
        """Return whether a page of ``origin`` may connect to us at ``host``, the request's Host header.

        Who sends no Origin is no page: an app, a server. It has to bring a token like all.
        """
        if origin is None or ANY in self._named:
            return True
        return origin in self._named if self._named else origin.partition("://")[2] == host
