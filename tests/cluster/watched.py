"""``python -m bridge``, which also says how many tasks it has whenever it gets SIGUSR1."""

import asyncio
import json
import signal
import sys

from bridge.__main__ import main


def _say(*_):
    print(json.dumps({"tasks": len(asyncio.all_tasks())}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _say)
    sys.exit(main(sys.argv[1:]))
