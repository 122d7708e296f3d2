"""The published keys of an issuer (JWKS, RFC 7517): fetched when needed, kept, and fetched anew in time.

A token with an unknown key id may show a new key, or be junk: it makes us look again, but not more often than
every `LOOK_S`. An issuer that cannot be reached does not lock out whose key is known.
"""

import asyncio
import json
import math
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import jwt

from bridge.auth import SIGNATURES
from bridge.errors import BridgeError, RequestError

FRESH_S = 600.0
"""So long keys are used without a look: a key that its issuer takes back is trusted no longer than that."""
STALE_S = 86400.0
"""So long they are used where the issuer cannot be reached."""
LOOK_S = 10.0
FETCH_S = 3.0
BODY_LIMIT_BYTES = 256 * 1024
KEYS_LIMIT = 64


class IssuerUnreachable(BridgeError):
    """The issuer's keys could not be fetched, or are none."""


class PublishedKeys:
    """The keys at ``url``. ``now`` gives monotonic seconds, ``failed`` hears why a fetch gave none."""

    def __init__(self, url: str, now: Callable[[], float], failed: Callable[[BaseException], None]) -> None:
        self._url = url
        self._now = now
        self._failed = failed
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at_s = self._looked_at_s = -math.inf
        self._looking = asyncio.Lock()
        self._client = httpx.AsyncClient(
            timeout=FETCH_S, follow_redirects=False, trust_env=False, verify=ssl.create_default_context()
        )

    def __repr__(self) -> str:
        return f"<PublishedKeys {len(self._keys)} keys, {self._now() - self._fetched_at_s:.0f} s old>"

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def key(self, key_id: str | None) -> jwt.PyJWK:
        """Return the key of that name, or the only one for no name; see `Keys.key`."""
        if self._found(key_id) is None or self._age_s() > FRESH_S:
            await self._look()
        if self._age_s() > STALE_S:
            raise RequestError("auth_unavailable", "unable to let the device in; no key is known to prove it")
        key = self._found(key_id)
        if key is None:
            raise RequestError("unauthorized", "unable to let the device in; its token has an unknown key")
        return key

    def _age_s(self) -> float:
        return self._now() - self._fetched_at_s

    def _found(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _look(self) -> None:
        """Fetch the keys, one caller for all that wait, unless that was done just now."""
        async with self._looking:
            if self._now() - self._looked_at_s < LOOK_S:
                return
            self._looked_at_s = self._now()
            try:
                self._keys = await self._fetch()
                self._fetched_at_s = self._now()
            except IssuerUnreachable as error:
                self._failed(error)

    async def _fetch(self) -> dict[str | None, jwt.PyJWK]:
        try:
            async with asyncio.timeout(FETCH_S), self._client.stream("GET", self._url) as response:
                if response.status_code != httpx.codes.OK:
                    raise IssuerUnreachable(f"unable to fetch keys; the status is {response.status_code}")
                return _read(await _body(response))
        except (httpx.HTTPError, OSError, TimeoutError) as exc:
            raise IssuerUnreachable(f"unable to fetch keys; {type(exc).__name__}") from None


async def _body(response: httpx.Response) -> bytes:
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > BODY_LIMIT_BYTES:
            raise IssuerUnreachable(f"unable to use the keys; they are over {BODY_LIMIT_BYTES} bytes")
    return body


def _read(body: bytes) -> dict[str | None, jwt.PyJWK]:
    """Return the keys that prove signatures; others, and those that cannot be read, are left out."""
    try:
        listed = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise IssuerUnreachable("unable to use the keys; they are no JWKS") from exc
    if not isinstance(listed, list):
        raise IssuerUnreachable("unable to use the keys; they are no JWKS")
    keys = (_key(each) for each in listed[:KEYS_LIMIT] if isinstance(each, dict))
    return {key.key_id: key for key in keys if key is not None}


def _key(raw: dict[str, Any]) -> jwt.PyJWK | None:
    if raw.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(raw)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return key if key.algorithm_name in SIGNATURES else None
