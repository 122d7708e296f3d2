"""The flag of a bridge that runs elsewhere, through its ``/admin/flag``."""

from typing import Any

import httpx

from bridge.changes import Edit, FlagState, Reason, parse_state
from bridge.errors import FlagRefused, StoreUnavailable

ANSWER_S = 5.0


class RemoteFlag:
    """The flag behind ``PUT /admin/flag`` of a running bridge."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/") + "/admin/flag"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def state(self) -> FlagState:
        """Ask; see `Switch.state`."""
        return await self._ask("GET", None)

    async def change(self, edit: Edit, reason: Reason) -> FlagState:
        """Change; see `Switch.change`."""
        return await self._ask("PUT", {**edit.wire(), "who": reason.who, "why": reason.why})

    async def _ask(self, method: str, body: dict[str, Any] | None) -> FlagState:
        try:
            async with httpx.AsyncClient(timeout=ANSWER_S, headers=self._headers) as http:
                answer = await http.request(method, self._url, json=body)
            said = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            why = f"no bridge answers at {self._url} ({type(exc).__name__}); see --url and REDIS_URL"
            raise StoreUnavailable(f"unable to ask for the flag; {why}") from exc
        if not answer.is_success or not isinstance(said, dict):
            raise FlagRefused(
                _told(said) or f"unable to ask for the flag; {self._url} said {answer.status_code}"
            )
        return parse_state(said)


def _told(said: Any) -> str:
    """Return the message of an error that a bridge answered with."""
    try:
        return str(said["error"]["message"])
    except (TypeError, KeyError):
        return ""
