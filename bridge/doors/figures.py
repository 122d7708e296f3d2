"""``/metrics``: the figures of this process in Prometheus' text format."""

from aiohttp import web

from bridge.failures import failure
from bridge.metrics import CONTENT_TYPE, Metrics


def routes(metrics: Metrics) -> list[web.RouteDef]:
    """Return the routes of this door."""

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return [web.get("/metrics", figures)]


def elsewhere() -> list[web.RouteDef]:
    """Return the routes where several processes share an address: figures are those of one process."""

    async def refuse(_: web.Request) -> web.Response:
        why = "each process has its own: set BRIDGE_ADMIN_PORT, and ask that port and those behind it"
        return failure(404, "process_unknown", f"unable to show figures; {why}")

    return [web.get("/metrics", refuse)]
