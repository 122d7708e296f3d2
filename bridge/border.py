"""Builds what stands between strangers and the rooms, from the settings; part of the composition root.

Where only this machine can reach the bridge it is development: nobody needs a token. Anywhere else it is
production, and what is not said there is refused at start, with what to say.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from aiohttp import web

from bridge.addresses import Network, client_address, is_loopback, networks
from bridge.admission import Admission, AdmissionLimits
from bridge.auth import ClosedAuthenticator, JwtAuthenticator, NoAuthenticator, Secret
from bridge.errors import SettingsError
from bridge.identity import Authenticator, Membership
from bridge.jwks import PublishedKeys
from bridge.membership import BackendMembership, ClaimedMembership, OpenMembership
from bridge.origins import ANY, Origins, is_origin
from bridge.ports import Clock, Telemetry
from bridge.profiles import Profile
from bridge.settings import Settings


class Closes(Protocol):
    """What holds connections of its own."""

    async def close(self) -> None:
        """Close them."""
        ...


class Border:
    """The admission, the origins and the trusted proxies of one process. Raises `SettingsError`."""

    def __init__(self, settings: Settings, profile: Profile, telemetry: Telemetry, clock: Clock) -> None:
        check(settings)
        self._closes: list[Closes] = []
        self.origins = Origins(settings.origins)
        self.proxies: tuple[Network, ...] = networks(settings.trusted_proxies)
        self.admission = Admission(
            authenticator=self._authenticator(settings, clock.monotonic_s, telemetry.fault),
            membership=self._membership(settings, profile),
            limits=AdmissionLimits(
                events_per_second=settings.events_per_second,
                events_burst=settings.events_burst,
                connections_per_user=settings.connections_per_user,
                connections_per_address=settings.connections_per_address,
                rooms_per_device=settings.rooms_per_device,
                removal_s=settings.removal_s,
            ),
            telemetry=telemetry,
            clock=clock,
            wall=time.time,
        )

    def address(self, request: web.Request) -> str:
        """Return whose connection ``request`` comes over, as far as a trusted proxy says."""
        forwarded_for = ",".join(request.headers.getall("X-Forwarded-For", []))
        return client_address(request.remote or "", forwarded_for, self.proxies)

    def allows(self, request: web.Request) -> bool:
        """Return whether the page that sent ``request`` may ask."""
        return self.origins.allow(request.headers.get("Origin"), request.host)

    def allows_origin(self, origin: str | None, environ: Mapping[str, Any]) -> bool:
        """Return the same, as python-engineio asks."""
        return self.origins.allow(origin, environ.get("HTTP_HOST", ""))

    async def close(self) -> None:
        """Close every connection to issuer and backend."""
        for each in self._closes:
            await each.close()

    def _authenticator(
        self, settings: Settings, now: Callable[[], float], failed: Callable[[BaseException], None]
    ) -> Authenticator:
        if settings.auth == "closed":
            return ClosedAuthenticator()
        if settings.auth != "jwt":
            return NoAuthenticator()
        return JwtAuthenticator(
            self._keys(settings, now, failed),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            rooms_claim=settings.rooms_claim,
            wall=time.time,
        )

    def _keys(
        self, settings: Settings, now: Callable[[], float], failed: Callable[[BaseException], None]
    ) -> Secret | PublishedKeys:
        if not settings.jwks_url:
            return Secret(settings.jwt_secret)
        published = PublishedKeys(settings.jwks_url, now, failed)
        self._closes.append(published)
        return published

    def _membership(self, settings: Settings, profile: Profile) -> Membership:
        if settings.auth != "jwt":
            return OpenMembership()
        if profile.membership is None:
            return ClaimedMembership()
        asked = BackendMembership(
            settings.backend_url, profile, profile.membership, lasts_s=settings.membership_ttl_s
        )
        self._closes.append(asked)
        return asked


def in_production(settings: Settings) -> bool:
    """Return whether strangers may reach the bridge: unless said otherwise, wherever HOST is not loopback."""
    if settings.mode:
        return settings.mode == "production"
    return not (settings.demo or is_loopback(settings.host))


def check(settings: Settings) -> None:
    """Raise `SettingsError` where the settings would let strangers in."""
    for origin in settings.origins:
        if origin != ANY and not is_origin(origin):
            _refuse(f"BRIDGE_ORIGINS={origin}", "it must look like https://chat.example.org, without a path")
    try:
        networks(settings.trusted_proxies)
    except ValueError as exc:
        _refuse("BRIDGE_TRUSTED_PROXIES", f"{exc}; say addresses or networks like 10.0.0.0/8")
    if in_production(settings):
        _check_production(settings)


def _check_production(settings: Settings) -> None:
    why = "BRIDGE_MODE is production" if settings.mode else f"HOST={settings.host} is reached by strangers"
    if settings.auth in ("", "none"):
        way = "set BRIDGE_AUTH=jwt with BRIDGE_JWT_SECRET or BRIDGE_JWKS_URL"
        also = "BRIDGE_AUTH=closed if no device connects to the bridge itself"
        other = "to let anybody into any room, BRIDGE_MODE=development"
        _refuse(f"BRIDGE_AUTH={settings.auth or 'none'}", f"{why}: {way}, or {also}, or, {other}")
    if settings.auth == "closed":
        return
    if settings.drop_in == "on" and not settings.drop_in_port:
        way = "give it an address of its own that only the chat-server reaches, by BRIDGE_DROP_IN_PORT"
        _refuse("BRIDGE_DROP_IN=on", f"{why}, and it asks for no token: {way}")
    if not settings.origins or ANY in settings.origins:
        said = ",".join(settings.origins) or "nothing"
        way = "name the pages that may connect, like BRIDGE_ORIGINS=https://chat.example.org"
        _refuse(f"BRIDGE_ORIGINS={said}", f"{why}: {way}")


def _refuse(what: str, why: str) -> NoReturn:
    raise SettingsError(f"unable to use {what}; {why}")
