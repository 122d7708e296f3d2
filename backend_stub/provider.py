"""A model behind any API that is like OpenAI's chat completions, in the place of the built-in one."""

import asyncio
import difflib
import ipaddress
import json
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import httpx_sse

from backend_stub.errors import SettingError, StartError, StubError

BASE_URL = "https://api.openai.com/v1"
MODEL = "gpt-4o-mini"

_CONNECT_S = 5.0
_LIMIT_S = 3600
_PORT_LIMIT = 65535
_NEAR_NAMES = 5
_SERVER_ERRORS = 500
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
_KEY_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_NO_ENDPOINT = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
_EVENT_STREAM = "text/event-stream"
_SECONDS = re.compile(r"[0-9]{1,9}")
_KEY = re.compile(r"[!-~]*")


class ProviderError(StubError):
    """The provider did not come to the end of its answer; the reason tells no key, prompt or answer."""


class _Passing(ProviderError):
    """What another try may do better; the provider asks to be left alone for ``wait_s`` seconds."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a provider is waited for, in seconds, and how often it is asked for one answer.

    Raises `ValueError` when a figure is out of bounds: every wait has an end.
    """

    check_s: float = 10.0
    """The whole check of the model."""
    first_token_s: float = 30.0
    """From the question to its first token, over all tries and the pauses between them."""
    next_token_s: float = 30.0
    """From one token to the next, or to the end."""
    backoff_s: float = 0.5
    """The longest pause before the second try; it doubles with each, and chance takes up to half of it."""
    retry_after_s: float = 10.0
    """The longest Retry-After that is obeyed; who asks for more is not tried again."""
    tries: int = 3

    def __post_init__(self) -> None:
        deadlines = (self.check_s, self.first_token_s, self.next_token_s)
        pauses = (self.backoff_s, self.retry_after_s)
        if not all(0 < each <= _LIMIT_S for each in deadlines) or not all(
            0 <= each <= _LIMIT_S for each in pauses
        ):
            raise ValueError(f"a wait must be from 0 to {_LIMIT_S} seconds, and a deadline more than 0")
        if self.tries < 1:
            raise ValueError("tries must be 1 or more")


_PATIENCE = Patience()


def select(environ: Mapping[str, str]) -> "Provider | None":
    """Return the provider that ``environ`` chooses; None for the built-in model.

    Raises `SettingError` when a value cannot be used, or when a URL or a model comes without a key: only a
    provider on this computer needs none.
    """
    key, base_url, model = (
        environ.get(name, "").strip() for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL")
    )
    if not key and not base_url and not model:
        return None
    base_url = base_url or BASE_URL
    if not key and not _is_loopback(_parse(base_url).host):
        raise SettingError("unable to use OPENAI_BASE_URL and OPENAI_MODEL; OPENAI_API_KEY is not set")
    return Provider(base_url, key, model or MODEL)


class Provider:
    """The model ``model`` of the API at ``base_url``; an empty ``api_key`` is not sent.

    ``pause`` waits for so many seconds before another try; ``chance`` gives numbers from 0 to 1, for jitter.
    Raises `SettingError` when URL, key or model cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        model: str,
        *,
        patience: Patience = _PATIENCE,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        url = _parse(base_url)
        if not _KEY.fullmatch(api_key):
            raise SettingError("unable to use OPENAI_API_KEY; it holds signs that no header can carry")
        if not model or not model.isprintable():
            raise SettingError("unable to use OPENAI_MODEL; it is no printable name")
        self._model = model
        self._host = url.netloc.decode("ascii")
        self._has_key = bool(api_key)
        self._patience = patience
        self._pause = pause
        self._chance = chance
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT_S),  # what takes longer has a deadline of ours
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"<Provider {self.name}>"

    @property
    def name(self) -> str:
        """The model and its host; never the key."""
        return f"{self._model} at {self._host}"

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def check(self) -> None:
        """Ask whether the model is there; raise `StartError` when it is not, or no answer comes in time.

        An API with neither a model's page nor a list of models is taken on trust.
        """
        try:
            async with asyncio.timeout(self._patience.check_s):
                await self._look()
        except TimeoutError as exc:
            raise self._unusable(f"no reply within {self._patience.check_s:g} s") from exc
        except httpx.HTTPError as exc:
            raise self._unusable(f"the provider is not to be reached ({type(exc).__name__})") from exc

    async def _look(self) -> None:
        if await self._get(f"models/{quote(self._model, safe='')}") is None:
            listed = await self._get("models")
            if listed is not None:
                self._find(self._names(listed))

    async def _get(self, path: str) -> Any | None:
        """Return the JSON at ``path``; None when there is no such endpoint."""
        response = await self._client.get(path)
        if response.status_code in _NO_ENDPOINT:
            return None
        if response.status_code in _KEY_REFUSED:
            raise self._unusable("the key is refused" if self._has_key else "the provider wants a key")
        if response.status_code != HTTPStatus.OK:
            raise self._unusable(f"the provider replies with status {response.status_code}")
        value = _loads(response.content)
        if not isinstance(value, dict | list):
            raise self._unusable("the provider does not reply in JSON")
        return value

    def _names(self, listed: Any) -> Sequence[str]:
        models = listed.get("data") if isinstance(listed, dict) else listed
        if not isinstance(models, list):
            raise self._unusable("the provider's list of models is not to be read")
        names = (each.get("id") for each in models if isinstance(each, dict))
        return [name for name in names if isinstance(name, str) and name.isprintable()]

    def _find(self, names: Sequence[str]) -> None:
        if self._model not in names:
            near = difflib.get_close_matches(self._model, names, n=_NEAR_NAMES)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise self._unusable(f"the provider has none of this name{hint}")

    def _unusable(self, reason: str) -> StartError:
        return StartError(f"unable to use the model {self.name}; {reason}")

    async def pieces(self, content: str) -> AsyncGenerator[str, None]:
        """Yield the tokens of the answer to ``content``; closing the iterator closes the connection.

        What goes wrong before the first token and may pass is tried again; nothing is, once a token was
        yielded. Raises `ProviderError` when the answer does not come to its end.
        """
        reply, token = await self._first(content)
        try:
            while token is not None:
                yield token
                token = await self._next(reply)
        finally:
            await reply.close()

    async def _first(self, content: str) -> "tuple[_Reply, str | None]":
        limit_s = self._patience.first_token_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._begin(content)
        except TimeoutError as exc:
            raise _late(limit_s) from exc

    async def _next(self, reply: "_Reply") -> str | None:
        limit_s = self._patience.next_token_s
        try:
            async with asyncio.timeout(limit_s):
                return await reply.token()
        except TimeoutError as exc:
            if reply.has_finished:
                return None
            raise _late(limit_s) from exc

    async def _begin(self, content: str) -> "tuple[_Reply, str | None]":
        """Return a reply and its first token, at the first try that comes so far."""
        tried = 0
        while True:
            tried += 1
            try:
                return await self._try(content)
            except _Passing as error:
                if tried >= self._patience.tries or error.wait_s > self._patience.retry_after_s:
                    raise
                wait_s = max(error.wait_s, self._backoff_s(tried))
            await self._pause(wait_s)

    def _backoff_s(self, tried: int) -> float:
        longest_s: float = self._patience.backoff_s * 2 ** (tried - 1)
        return longest_s * (1 - self._chance() / 2)

    async def _try(self, content: str) -> "tuple[_Reply, str | None]":
        reply = _Reply(await self._ask(content))
        try:
            return reply, await reply.token()
        except BaseException:
            await reply.close()
            raise

    async def _ask(self, content: str) -> httpx.Response:
        body = {"model": self._model, "stream": True, "messages": [{"role": "user", "content": content}]}
        headers = {
            "Accept": _EVENT_STREAM,
            "Accept-Encoding": "identity",
            "Cache-Control": "no-store",
            "Content-Type": "application/json",
        }
        request = self._client.build_request(
            "POST", "chat/completions", headers=headers, content=json.dumps(body)
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as exc:
            raise _Passing(f"unable to ask the provider; {type(exc).__name__}") from exc
        if (failure := _failure(response)) is not None:
            await response.aclose()
            raise failure
        return response


class _Reply:
    """The answer on one connection, read chunk by chunk."""

    def __init__(self, response: httpx.Response) -> None:
        response.encoding = "utf-8"  # whatever the provider calls it
        self._response = response
        self._events = httpx_sse.EventSource(response).aiter_sse()
        self.has_finished = False
        """Whether every token is here; what the connection does then is no loss."""

    async def token(self) -> str | None:
        """Return the next token; None at the end. Raises `ProviderError`."""
        try:
            return await self._read()
        except httpx.HTTPError as exc:
            if self.has_finished:
                return None
            raise _Passing(f"unable to read the answer; {type(exc).__name__}") from exc

    async def close(self) -> None:
        """Close the connection."""
        await self._events.aclose()
        await self._response.aclose()

    async def _read(self) -> str | None:
        async for event in self._events:
            if event.data == "[DONE]":
                return None
            if event.data and (text := self._text(event.data)):  # httpx-sse makes empty events of comments
                return text
        if not self.has_finished:
            raise _Passing("unable to read the answer; it broke off before its end")
        return None

    def _text(self, data: str) -> str:
        match _loads(data):
            case {"object": "error"} | {"error": dict() | str()}:
                raise _Passing("unable to read the answer; the provider reports an error")
            case {"choices": [dict(choice), *_]}:
                self.has_finished |= bool(choice.get("finish_reason"))
                return _content(choice)
            case dict():
                return ""
        raise ProviderError("unable to read the answer; a chunk of it is no JSON object")


def _late(limit_s: float) -> ProviderError:
    return ProviderError(f"unable to read the answer; no token came within {limit_s:g} s")


def _failure(response: httpx.Response) -> ProviderError | None:
    """Return why ``response`` brings no answer; None when it does."""
    status = response.status_code
    if status in _PASSING or status >= _SERVER_ERRORS:
        return _Passing(
            f"unable to answer; the provider replies with status {status}", _retry_after_s(response)
        )
    if status != HTTPStatus.OK:
        return ProviderError(f"unable to answer; the provider replies with status {status}")
    if _EVENT_STREAM not in response.headers.get("content-type", ""):
        return ProviderError("unable to answer; the provider does not reply with an event stream")
    return None


def _retry_after_s(response: httpx.Response) -> float:
    asked = response.headers.get("retry-after", "")
    return float(asked) if _SECONDS.fullmatch(asked) else 0.0  # a date says nothing without a clock


def _content(choice: Mapping[str, Any]) -> str:
    """Return the text of a chunk's choice, fit to be stored: half a sign is replaced."""
    match choice.get("delta"):
        case {"content": str(content)}:
            return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return ""


def _loads(text: str | bytes) -> Any:
    """Return the value of a JSON text; None when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parse(base_url: str) -> httpx.URL:
    """Return the URL; raise `SettingError`, which does not show it, when it cannot be used."""
    try:
        url = httpx.URL(base_url)
        url.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        raise SettingError("unable to use OPENAI_BASE_URL; it is no URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingError("unable to use OPENAI_BASE_URL; it must begin with http:// or https:// and a host")
    if url.userinfo or url.query or url.fragment:
        raise SettingError(
            "unable to use OPENAI_BASE_URL; it must end with its path, and hold no credentials"
        )
    if url.port is not None and not 0 < url.port <= _PORT_LIMIT:
        raise SettingError(f"unable to use OPENAI_BASE_URL; its port must be from 1 to {_PORT_LIMIT}")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
