"""Which headers of a passed request or answer go on, and what is added for the backend (RFC 9110, 7.6)."""

from collections.abc import Iterable

from aiohttp import web
from multidict import CIMultiDict

HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"})
"""They concern one connection (RFC 9110, 7.6.1), and so does what Connection names."""
NOT_FOR_BACKEND = frozenset({"host", "expect", "trailer"})
"""Said anew towards the backend, answered already, and not passed on by the library."""


def forwarded(request: web.Request) -> dict[str, str]:
    """Return the headers that tell the backend who asked, and where."""
    before = request.headers.get("X-Forwarded-For")
    caller = request.remote or "unknown"
    return {
        "X-Forwarded-For": f"{before}, {caller}" if before else caller,
        "X-Forwarded-Host": request.headers.get("X-Forwarded-Host", request.host),
        "X-Forwarded-Proto": request.headers.get("X-Forwarded-Proto", request.scheme),
    }


def end_to_end(raw: Iterable[tuple[bytes, bytes]], but: frozenset[str] = frozenset()) -> CIMultiDict[str]:
    """Return the headers that concern more than one connection, as they were written; none of ``but``."""
    given = [(name.decode("ascii"), value.decode("utf-8", "surrogateescape")) for name, value in raw]
    named = {
        each.strip()
        for name, value in given
        if name.lower() == "connection"
        for each in value.lower().split(",")
    }
    left_out = HOP_BY_HOP | but | named
    return CIMultiDict((name, value) for name, value in given if name.lower() not in left_out)
