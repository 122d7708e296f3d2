"""``/metrics``: the figures of this process in Prometheus' text format."""

from collections.abc import Callable

from aiohttp import web

from bridge.failures import failure
from bridge.metrics import CONTENT_TYPE, Metrics


def routes(metrics: Metrics, refusal: Callable[[web.Request], web.Response | None]) -> list[web.RouteDef]:
    """Return the routes of this door; ``refusal`` says what to answer who may not."""

    async def figures(request: web.Request) -> web.Response:
        return refusal(request) or web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return [web.get("/metrics", figures)]


def elsewhere() -> list[web.RouteDef]:
    """Return the routes where several processes share an address: figures are those of one process."""

    async def refuse(_: web.Request) -> web.Response:
        why = "each process has its own: set BRIDGE_ADMIN_PORT, and ask that port and those behind it"
        return failure(404, "process_unknown", f"unable to show figures; {why}")

    return [web.get("/metrics", refuse)]
