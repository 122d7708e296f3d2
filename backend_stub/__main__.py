"""``python -m backend_stub``: reads the settings and serves until it is told to end."""

import argparse
import asyncio
import os
import signal
import sys

from backend_stub.errors import SettingError, StartError
from backend_stub.settings import Settings, from_environment

EXIT_FAILED = 1
EXIT_USAGE = 2

_TEACHES = """\
ask it:
  curl -N http://127.0.0.1:5100/chat/messages/stream -d '{"roomId": 42, "requestId": "r1", "content": "Hi"}'
  curl http://127.0.0.1:5100/chat/rooms/42/messages?limit=50
  curl http://127.0.0.1:5100/stats

settings, from the environment:
  HOST, PORT                  where it listens (127.0.0.1, 5100)
  BACKEND_STUB_DATABASE_URL   any async SQLAlchemy URL (sqlite+aiosqlite:///backend_stub.sqlite3)
  BACKEND_STUB_TOKENS         the length of an answer in tokens (60)
  BACKEND_STUB_TOKENS_PER_S   the pace of an answer; 0 is as fast as possible (50)
  BACKEND_STUB_FIRST_TOKEN_S  seconds before the first token (0.2)
  BACKEND_STUB_GRACE_S        seconds that an answer goes on with no caller attached (5)
  BACKEND_STUB_FAULT          the fault of calls that ask for none (none)

a body may say otherwise: "tokens", "tokensPerSecond", "firstTokenSeconds", "fault"

faults, asked for with the header X-Stub-Fault, the body, or the environment, in this order:
  NAME[;after=K][;times=M][;bytes=N][;on=stream|complete|both]
  after K deltas (5), on the first M calls of a request (all), a line of N bytes, on such calls (stream)
  instead of an answer: refuse status-500 status-503 status-429 hang silent json-error redirect
  inside of it: error stall cut malformed malformed-many no-end after-end duplicate huge bad-utf8 bom

exit status: 0 ended when told to, 1 unable to start, 2 a setting or an argument cannot be used
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        settings = from_environment(os.environ, host=arguments.host, port=arguments.port)
        asyncio.run(serve(settings))
    except SettingError as error:
        return _complain(error, EXIT_USAGE)
    except StartError as error:
        return _complain(error, EXIT_FAILED)
    return 0


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT comes."""
    from backend_stub.app import ReferenceBackend  # noqa: PLC0415 - slow, and no help needs it

    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    backend = ReferenceBackend(settings)
    base_url = await backend.start()
    sys.stdout.write(f"the reference backend listens on {base_url}\n")
    sys.stdout.flush()
    try:
        await told_to_end.wait()
    finally:
        await backend.stop()


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
