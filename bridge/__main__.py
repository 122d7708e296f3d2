"""``python -m bridge VERB``: reads the settings and hands over to ``commands/``."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from bridge import __version__, profiles
from bridge.commands import config, demo, doctor, documents, flag, processes, serve, tail, validate
from bridge.commands.validation import arguments as validate_arguments
from bridge.errors import BridgeError, SettingsError
from bridge.profiles import Profile
from bridge.settings import Settings, config_dir, load, sources

EXIT_FAILED = 1
EXIT_USAGE = 2
NODES_LIMIT = 8

Verb = Callable[[Settings, argparse.Namespace], Awaitable[int]]
_AT_A_DISTANCE: Mapping[str, Verb] = {"flag": flag.run, "validate": validate.run, "tail": tail.run}
"""The verbs that need no backend's profile: they deal with a bridge that runs."""

_TEACHES = """\
try it:    python -m bridge demo            a room behind every door, a backend; prints the address
prove it:  python -m bridge demo --check    the same without a browser; exit status 0 or 1
           python -m bridge demo --nodes 2  devices on two processes; with --check, one is killed
ask it:    BACKEND_URL=http://127.0.0.1:5100 python -m bridge doctor --profile default
check it:  python -m bridge config check
run it:    BACKEND_URL=http://127.0.0.1:5100 CHAT_STREAMING_ENABLED=on python -m bridge serve
measure:   python -m bridge validate --url http://127.0.0.1:8080
roll out:  python -m bridge flag rollout 25 --why "one room in four"
watch:     python -m bridge tail ROOM

Settings come from the environment, then from config/bridge.toml, which explains each of them.
`python -m bridge VERB --help` says more.
exit status: 0 done, 1 failed, 2 a setting or an argument cannot be used
"""


_SERVES = """\
Run the bridge until SIGTERM, SIGINT or SIGHUP: running turns get BRIDGE_DRAIN_S, then go to other processes.

With --processes N a parent keeps N processes on one port, each a node on a core of its own, over REDIS_URL.
Clients need nothing for it: any transport, no sticky rule. One that dies is started again, after a pause that
grows, and its turns go on in another; a signal reaches all, and the exit status is the worst of theirs.
Each has its own figures: with BRIDGE_ADMIN_PORT=9100 the first has /metrics, /readyz and /admin/* on 9100,
the next on 9101, and so on. Without it they share them: /readyz is that of the process that hears the
question, /admin/flag is the same in all, and /metrics is refused. A log line says which process wrote it.
Linux only.

exit status: 0 stopped, 1 failed, 2 a setting or an argument cannot be used
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run(arguments))
    except SettingsError as error:
        return _complain(error, EXIT_FAILED if config.is_check(arguments) else EXIT_USAGE)
    except BridgeError as error:
        return _complain(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bridge",
        description="Makes a backend's answer appear token by token on every device of a Socket.IO room.",
        epilog=_TEACHES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument("--config", type=Path, help="the settings file (default: config/bridge.toml if there)")
    shared = argparse.ArgumentParser(add_help=False, parents=[file])
    shared.add_argument("--host", help="the address to listen on (HOST, default 127.0.0.1)")
    shared.add_argument("--port", type=int, help="the port to listen on (PORT, default 8080)")
    form = argparse.RawDescriptionHelpFormatter
    says = "run the bridge (the default)"
    real = verbs.add_parser("serve", parents=[shared], help=says, description=_SERVES, formatter_class=form)
    says = "so many on one port, over REDIS_URL (BRIDGE_PROCESSES, default 1)"
    real.add_argument("--processes", type=int, metavar="N", help=says)
    real.add_argument("--place", type=Path, help=argparse.SUPPRESS)  # of one of them; given by their parent
    trial = verbs.add_parser("demo", parents=[shared], help="run it with its own backend and show the page")
    trial.add_argument("--check", action="store_true", help="prove it without a browser and end")
    many, says = range(1, NODES_LIMIT + 1), "so many processes over a Redis of their own (default 1, without)"
    trial.add_argument("--nodes", type=int, choices=many, default=1, metavar="N", help=says)
    asked = verbs.add_parser("doctor", parents=[file], help="ask the backend, show and judge what it says")
    asked.add_argument("--profile", dest="backend_profile", metavar="NAME", help="config/backends/NAME.toml")
    asked.add_argument("--prompt", default="Say hello in one sentence.", help="what the backend is asked")
    flag.add_parser(verbs, file)
    validate_arguments.add_parser(verbs, file)
    tail.add_parser(verbs, file)
    config.add_parser(verbs, file)
    documents.add_parser(verbs)
    return parser


async def _run(arguments: argparse.Namespace) -> int:
    if arguments.verb == "documents":
        return documents.run(arguments)
    if arguments.verb == "demo":
        given = {"demo": True, "processes": 1, "chat_streaming_enabled": True, "backend_profile": "reference"}
        settings, profile = _chosen(arguments, **given)
        return await demo.run(settings, profile, nodes=arguments.nodes, check=arguments.check)
    if arguments.verb in _AT_A_DISTANCE:
        return await _AT_A_DISTANCE[arguments.verb](load(os.environ, _file(arguments)), arguments)
    settings, profile = _chosen(arguments)
    if arguments.verb == "config":
        origins = sources(os.environ, _file(arguments), profile.settings)
        return await config.run(settings, profile, origins, arguments)
    if arguments.verb == "doctor":
        return await doctor.run(settings, profile, arguments.prompt)
    return await _serve(settings, profile, arguments)


async def _serve(settings: Settings, profile: Profile, arguments: argparse.Namespace) -> int:
    if settings.processes > 1:
        return await processes.run(settings, profile)
    return await serve.run(settings, profile, getattr(arguments, "place", None))


def _chosen(arguments: argparse.Namespace, **given: Any) -> tuple[Settings, Profile]:
    """Return the settings, and the profile of the backend that they name."""
    for name in ("host", "port", "processes", "backend_profile"):
        value = getattr(arguments, name, None)
        if value is not None:
            given[name] = value
    file = _file(arguments)
    profile = profiles.read(config_dir(), load(os.environ, file, **given).backend_profile, os.environ)
    return load(os.environ, file, profile.settings, **given), profile


def _file(arguments: argparse.Namespace) -> Path | None:
    explicit: Path | None = getattr(arguments, "config", None)
    file = explicit or config_dir() / "bridge.toml"
    return file if explicit or file.is_file() else None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  (an extra: without it asyncio's own loop serves)
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _complain(error: Exception, status: int) -> int:
    print(error, file=sys.stderr)  # noqa: T201  (the command line prints)
    return status


if __name__ == "__main__":
    sys.exit(main())
