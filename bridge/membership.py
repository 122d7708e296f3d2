"""Who may be in a room: everybody, whoever's token names it, or whom the backend allows."""

import asyncio
import json
import ssl

import httpx

from bridge.errors import PromptUnusable, RequestError
from bridge.events import Id
from bridge.identity import Identity
from bridge.ports import Prompt
from bridge.profiles import MembershipCall, Profile
from bridge.templates import ask, pick

ASK_S = 3.0
BODY_LIMIT_BYTES = 64 * 1024
_YES, _NO = frozenset({200, 204}), frozenset({403, 404, 410})


class OpenMembership:
    """Lets everybody into every room: for development."""

    lasts_s = 0.0

    async def allows(self, _: Identity, __: Id) -> bool:
        """Return True."""
        return True


class ClaimedMembership:
    """Lets into a room whose token names it, with the JSON type of the room's id."""

    lasts_s = 0.0

    async def allows(self, identity: Identity, room_id: Id) -> bool:
        """Return whether the token names the room."""
        return room_id in identity.rooms


class BackendMembership:
    """Asks the backend at ``base_url`` by ``call`` of its profile; an answer holds for ``lasts_s``.

    Status 200 and 204 are a yes, unless the call says where in the JSON the yes must stand; 403, 404 and 410
    are a no. Whatever else comes is no answer.
    """

    def __init__(self, base_url: str, profile: Profile, call: MembershipCall, *, lasts_s: float) -> None:
        self.lasts_s = lasts_s
        self._profile = profile
        self._call = call
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=ASK_S,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def allows(self, identity: Identity, room_id: Id) -> bool:
        """Return what the backend says; see `Membership.allows`."""
        try:
            async with asyncio.timeout(ASK_S):
                return await self._asked(Prompt("", room_id, "", "", identity.user))
        except (httpx.HTTPError, OSError, TimeoutError, ValueError, RecursionError) as exc:
            raise _unknown("the backend does not say") from exc
        except PromptUnusable as exc:
            raise _unknown("the backend cannot be asked about this user") from exc

    async def _asked(self, prompt: Prompt) -> bool:
        asked = ask(self._profile, self._call.call, prompt, {})
        target = httpx.URL(asked.target)
        if asked.query:
            target = target.copy_merge_params(dict(asked.query))
        headers = {"Accept": "application/json", "Cache-Control": "no-store", **asked.headers}
        async with self._client.stream(asked.method, target, headers=headers, content=asked.body) as response:
            if response.status_code in _NO:
                return False
            if response.status_code not in _YES:
                raise _unknown("the backend does not say")
            return not self._call.allowed or pick(await _json(response), self._call.allowed) is True


async def _json(response: httpx.Response) -> object:
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > BODY_LIMIT_BYTES:
            raise _unknown("the backend says too much")
    value: object = json.loads(body)
    return value


def _unknown(why: str) -> RequestError:
    return RequestError("membership_unknown", f"unable to act in the room; {why}")
