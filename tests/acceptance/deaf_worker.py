"""`maskmill-worker`, whose consumer asks for no message while a file is there. Run: python deaf_worker.py ARGUMENTS.

DEAF_FILE names the file. DEAF_ONCE: only the first connection of each process is so, a new one hears.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kombu.transport import redis

from maskmill_worker import cli
from maskmill_worker.process import hearing

can_consume = redis.QoS.can_consume
first: list[Any] = []


def can_consume_unless_deaf(qos: Any) -> bool:
    first[:] = first or [qos]
    deaf = Path(os.environ["DEAF_FILE"]).exists() and ("DEAF_ONCE" not in os.environ or first[0] is qos)
    return bool(can_consume(qos)) and not deaf


if __name__ == "__main__":
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # as the command does, before Celery is loaded
    from maskmill_worker import main_process

    redis.QoS.can_consume = can_consume_unless_deaf
    hearing.DEAF_SECONDS = 2.0
    main_process.WATCH_SECONDS = 0.3
    cli.main()
