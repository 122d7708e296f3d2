"""``python -m backend_stub``: reads the settings and serves until it is told to end."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping

from backend_stub.errors import SettingError, StartError
from backend_stub.model import Model
from backend_stub.settings import Settings, from_environment

EXIT_FAILED = 1
EXIT_USAGE = 2

_TEACHES = """\
ask it, and read what it keeps:
  curl -N http://127.0.0.1:5100/chat/messages/stream -d '{"roomId": 42, "requestId": "r1", "content": "Hi"}'
  curl http://127.0.0.1:5100/chat/rooms/42/messages?limit=50
  curl http://127.0.0.1:5100/stats
  an answer's row is pending, then streaming, and ends as success or error

one answer, in many wire formats:
  POST /chat/messages/stream, /chat/messages      {roomId, content, requestId?, messageId?}
       UI message stream v1 with ids (Last-Event-ID resumes behind one); the whole message
  POST /api/v1/chat, /api/v1/chat/complete        {id, messages: [{id, role, parts}], trigger?, messageId?}
       the same stream for useChat; {id, role, parts}
  POST /stream/, /messages/                       {chat_id, content, request_id?}
       data:{role, delta} until data:[DONE]; {id, chat_id, role, content, created_at}
  POST /api/chat, /api/chat/CONVERSATION          {messages: [{role, content}], workspaceId?, budId?, model?}
       {type: token | conversationCreated | complete}
  POST /api/trpc/chat.initiateChat                {projectId, message, requestId?}
  GET  /api/trpc/chat.streamResponse?input=JSON   {projectId, assistantMessageId}
       StreamEvents in tRPC's envelope
  POST /api/trpc/chat.sendMessage                 {projectId, message, requestId?}
  POST /v1/chat/completions                       {model, messages, stream?, stream_options?}
  POST /v1/responses                              {model, input, stream?}
  GET  /v1/models, /v1/models/MODEL
       as OpenAI; any bearer token will do
  POST /v1/messages                               {model, messages, stream?}
       as Anthropic; x-api-key and anthropic-version must be there
  The same request id in the same room gets the same answer: from the body, else the header Idempotency-Key,
  else (useChat) the id of the prompt. A prompt that holds the word "weather" uses the tool get_weather:
  UI message stream and StreamEvents run it before the text, the APIs under /v1 end on its call.

settings, from the environment:
  HOST, PORT                  where it listens (127.0.0.1, 5100)
  BACKEND_STUB_DATABASE_URL   any async SQLAlchemy URL (sqlite+aiosqlite:///backend_stub.sqlite3)
  BACKEND_STUB_TOKENS         the length of an answer in tokens (60)
  BACKEND_STUB_TOKENS_PER_S   the pace of an answer; 0 is as fast as possible (50)
  BACKEND_STUB_FIRST_TOKEN_S  seconds before the first token (0.2)
  BACKEND_STUB_GRACE_S        seconds that an answer goes on with no caller attached (5)
  BACKEND_STUB_FAULT          the fault of calls that ask for none (none)
  OPENAI_API_KEY              with it, answers come from a provider, not from the built-in model (none)
  OPENAI_BASE_URL             any API like OpenAI's; a local one needs no key (https://api.openai.com/v1)
  OPENAI_MODEL                the provider's model (gpt-4o-mini)

a body outside of /v1 may say otherwise: "tokens", "tokensPerSecond", "firstTokenSeconds", "fault";
for a subscription, its input; a provider has its own length and pace

faults, asked for with the header X-Stub-Fault, the body, or the environment, in this order:
  NAME[;after=K][;times=M][;bytes=N][;on=stream|complete|both]
  after K deltas (5), on the first M calls of a request (all), a line of N bytes, on such calls (stream)
  instead of an answer: refuse status-500 status-503 status-429 hang silent json-error redirect
  inside of it: error stall cut malformed malformed-many no-end after-end duplicate huge bad-utf8 bom
  surrogates (a sign beyond the basic plane comes in two halves) hostile (frames that no reader should trust)

exit status: 0 ended when told to, 1 unable to start, 2 a setting or an argument cannot be used
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        settings = from_environment(os.environ, host=arguments.host, port=arguments.port)
        asyncio.run(serve(settings, _model(os.environ)))
    except SettingError as error:
        return _complain(error, EXIT_USAGE)
    except StartError as error:
        return _complain(error, EXIT_FAILED)
    return 0


async def serve(settings: Settings, model: Model | None = None) -> None:
    """Serve until SIGTERM or SIGINT comes; ``model`` stands in the place of the built-in one."""
    from backend_stub.app import ReferenceBackend  # noqa: PLC0415 - slow, and no help needs it

    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    backend = ReferenceBackend(settings, provider=model)
    try:
        base_url = await backend.start()
        name = "the built-in model" if model is None else model.name
        sys.stdout.write(f"the reference backend listens on {base_url} with {name}\n")
        sys.stdout.flush()
        await told_to_end.wait()
    finally:
        await backend.stop()
        if model is not None:
            await model.close()


def _model(environ: Mapping[str, str]) -> Model | None:
    from backend_stub.provider import select  # noqa: PLC0415 - slow, and no help needs it

    return select(environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m backend_stub",
        description="The reference backend of a chat product: streams answers and keeps their history.",
        epilog=_TEACHES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", help="the address to listen on (HOST, default 127.0.0.1)")
    parser.add_argument("--port", help="the port to listen on, 0 for a free one (PORT, default 5100)")
    return parser


def _complain(error: Exception, status: int) -> int:
    sys.stderr.write(f"backend_stub: {error}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
