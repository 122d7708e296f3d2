"""The doors of the operators, built and joined: a part of the composition root."""

import time
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from bridge.doors import figures
from bridge.doors.admin import AlertsDoor, Bearer, FlagDoor, RemovalsDoor
from bridge.identity import Removal
from bridge.metrics import Metrics
from bridge.ports import Switch
from bridge.settings import Settings


def routes(
    settings: Settings,
    *,
    switch: Switch,
    metrics: Metrics,
    pull: Callable[[str], Awaitable[bool]],
    remove: Callable[[Removal], None],
    one_of_several: bool,
) -> Iterator[web.RouteDef]:
    """Return their routes; ``one_of_several`` processes at one port show no figures there."""
    bearer = Bearer(settings.admin_token, open_without=settings.demo)
    yield from FlagDoor(switch, bearer).routes()
    yield from AlertsDoor(switch, bearer, pull, named=settings.guard_alerts).routes()
    yield from RemovalsDoor(bearer, remove, wall=time.time).routes()
    own = settings.admin_port or not one_of_several
    looks = Bearer(settings.metrics_token, open_without=True)
    yield from figures.routes(metrics, looks.refusal) if own else figures.elsewhere()
