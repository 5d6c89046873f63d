"""`maskmill-worker` with a fault of its connection to the broker. Run: python deaf_worker.py ARGUMENTS.

DEAF_FILE: its consumer asks for no message while this file is there. DEAF_ONCE: only the first connection of each
process does so, a new one hears. ACK_FAILS: its first acknowledgement fails, as with a frozen broker.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kombu.transport import redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from maskmill_worker import cli
from maskmill_worker.process import hearing

can_consume, ack = redis.QoS.can_consume, redis.QoS.ack
first: list[Any] = []


def can_consume_unless_deaf(qos: Any) -> bool:
    first[:] = first or [qos]
    deaf = Path(os.environ["DEAF_FILE"]).exists() and ("DEAF_ONCE" not in os.environ or first[0] is qos)
    return bool(can_consume(qos)) and not deaf


def ack_but_once(qos: Any, tag: str) -> None:
    redis.QoS.ack = ack
    raise RedisTimeoutError


if __name__ == "__main__":
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # as the command does, before Celery is loaded
    from maskmill_worker import main_process

    if "ACK_FAILS" in os.environ:
        redis.QoS.ack = ack_but_once
    else:
        redis.QoS.can_consume = can_consume_unless_deaf
        hearing.DEAF_SECONDS = 2.0
        main_process.WATCH_SECONDS = 0.3
    cli.main()
