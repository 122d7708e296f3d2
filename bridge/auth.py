"""Whose a token is: JWT (RFC 7519) by PyJWT. What a token says is believed only behind a proven signature.

The algorithms are ours to choose, never the token's (RFC 8725): HS256 with a secret, signatures with the
published keys of an issuer. Nothing of a token is logged or answered.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import jwt

from bridge.errors import RequestCode, RequestError
from bridge.events import Id, valid_id
from bridge.identity import USER_LIMIT_CHARS, Identity

TOKEN_LIMIT_CHARS = 8192
ROOMS_LIMIT = 4096
SKEW_S = 5.0
"""How far the issuer's clock may be ahead of ours. A token that has expired has expired."""
_UNUSABLE = (jwt.PyJWTError, ValueError, TypeError, RecursionError)
SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class Keys(Protocol):
    """Where the key of a token comes from."""

    async def key(self, key_id: str | None) -> jwt.PyJWK:
        """Return the key. Raises `RequestError`: ``unauthorized``, ``auth_unavailable``."""
        ...


class Secret:
    """One shared secret for all tokens: HS256."""

    def __init__(self, secret: str) -> None:
        raw = secret.encode()
        self._key = jwt.PyJWK({"kty": "oct", "k": jwt.utils.base64url_encode(raw).decode()}, "HS256")

    async def key(self, _: str | None) -> jwt.PyJWK:
        """Return the secret; see `Keys.key`."""
        return self._key


class JwtAuthenticator:
    """Believes tokens that ``keys`` prove, of ``issuer`` and for ``audience`` where these are not empty.

    ``sub`` is the user, ``rooms_claim`` the list of the user's rooms. ``wall`` gives seconds since 1970.
    """

    def __init__(
        self, keys: Keys, *, issuer: str, audience: str, rooms_claim: str, wall: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._issuer = issuer or None
        self._audience = audience or None
        self._rooms_claim = rooms_claim
        self._wall = wall

    async def identify(self, token: str | None) -> Identity:
        """Return who shows ``token``; see `Authenticator.identify`."""
        if not token:
            raise _refusal("unauthorized", "it brings no token")
        if len(token) > TOKEN_LIMIT_CHARS or not token.isascii():
            raise _refusal("unauthorized", "its token is none")
        key = await self._keys.key(_key_id(token))
        claims = self._proven(token, key)
        now_s, expires_at_s = self._wall(), _seconds(claims["exp"])
        if expires_at_s <= now_s:
            raise _refusal("token_expired", "its token has expired")
        if _seconds(claims.get("nbf", 0)) > now_s + SKEW_S:
            raise _refusal("unauthorized", "its token does not hold yet")
        issued_at_s = _seconds(claims["iat"]) if "iat" in claims else None
        return Identity(_user(claims), self._rooms(claims), expires_at_s, issued_at_s)

    def _proven(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,  # by our clock, and without SKEW_S
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": self._audience is not None,
                },
            )
        except _UNUSABLE as exc:
            raise _refusal("unauthorized", "its token is not valid here") from exc

    def _rooms(self, claims: dict[str, Any]) -> frozenset[Id]:
        named = claims.get(self._rooms_claim)
        if not isinstance(named, list):
            return frozenset()
        return frozenset(room for room in named[:ROOMS_LIMIT] if valid_id(room))


class NoAuthenticator:
    """Believes that everybody is nobody in particular: for development."""

    async def identify(self, _: str | None) -> Identity:
        """Return nobody in particular; see `Authenticator.identify`."""
        return Identity()


class ClosedAuthenticator:
    """Lets no device in: for a bridge that only stands in a backend's place."""

    async def identify(self, _: str | None) -> Identity:
        """Refuse; see `Authenticator.identify`."""
        raise _refusal("unauthorized", "this bridge takes no devices")


def bearer(header: str | None) -> str | None:
    """Return the token of an Authorization header (RFC 6750), None where it holds none."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _key_id(token: str) -> str | None:
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
    except _UNUSABLE as exc:
        raise _refusal("unauthorized", "its token is none") from exc
    return key_id if isinstance(key_id, str) else None


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise _refusal("unauthorized", "its token is none")
    return seconds


def _user(claims: dict[str, Any]) -> str:
    user = claims["sub"]
    if not isinstance(user, str) or not 0 < len(user) <= USER_LIMIT_CHARS or not user.isprintable():
        raise _refusal("unauthorized", "its token names no user")
    return user


def _refusal(code: RequestCode, why: str) -> RequestError:
    return RequestError(code, f"unable to let the device in; {why}")
