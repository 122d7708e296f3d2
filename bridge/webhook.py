"""Tells an address of the operator's what the guard did: JSON by POST, tried a few times."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from bridge.errors import WebhookLost
from bridge.facts import Happening
from bridge.ports import Telemetry

ANSWER_S = 5.0
PAUSES_S = (1.0, 5.0, 15.0)
"""How long it waits before each further attempt."""
WAITING_LIMIT = 16
"""So many may wait to be told; the guard makes few moves, and beyond this the address is dead."""

Payload = Mapping[str, Any]


class Webhook:
    """The webhook at ``url``. The address may be a secret: it is told nobody."""

    def __init__(self, url: str, telemetry: Telemetry) -> None:
        self._url = url
        self._telemetry = telemetry
        self._waiting: asyncio.Queue[Payload] = asyncio.Queue(WAITING_LIMIT)

    def tell(self, payload: Payload) -> None:
        """Have ``payload`` told, without waiting."""
        try:
            self._waiting.put_nowait(payload)
        except asyncio.QueueFull:
            self._lose("too much waits for it")

    async def run(self) -> None:
        """Tell what is to be told, in order, until cancelled."""
        trusted = ssl.create_default_context()
        async with httpx.AsyncClient(
            timeout=ANSWER_S, follow_redirects=False, trust_env=False, verify=trusted
        ) as client:
            while True:
                payload = await self._waiting.get()
                try:
                    await self._deliver(client, payload)
                except Exception as fault:  # noqa: BLE001  (an odd address must not end the guard beside it)
                    self._telemetry.fault(fault)

    async def _deliver(self, client: httpx.AsyncClient, payload: Payload) -> None:
        trouble = await self._post(client, payload)
        for pause_s in PAUSES_S:
            if not trouble:
                return
            await asyncio.sleep(pause_s)
            trouble = await self._post(client, payload)
        if trouble:
            self._lose(trouble)

    def _lose(self, why: str) -> None:
        self._telemetry.happened(Happening.WEBHOOK_LOST)
        self._telemetry.fault(WebhookLost(f"unable to call the webhook; {why}"))

    async def _post(self, client: httpx.AsyncClient, payload: Payload) -> str:
        """Return why it was not taken, nothing if it was."""
        try:
            async with asyncio.timeout(ANSWER_S), client.stream("POST", self._url, json=payload) as answer:
                return "" if answer.is_success else f"the status is {answer.status_code}"
        except (httpx.HTTPError, OSError, TimeoutError) as exc:
            return type(exc).__name__
