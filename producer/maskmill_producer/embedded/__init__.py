"""Broker and object store for one machine, from PyPI wheels: no root, no Docker, 127.0.0.1 only.

`start` and `stop` for a person, `running` for a program: any number of programs share one pair of servers.
"""

from maskmill_producer.embedded.errors import EmbeddedServersFailed
from maskmill_producer.embedded.servers import (
    Servers,
    ServerStatus,
    Status,
    require,
    require_room_of_servers,
    running,
    start,
    status,
    stop,
)

__all__ = [
    "EmbeddedServersFailed",
    "ServerStatus",
    "Servers",
    "Status",
    "require",
    "require_room_of_servers",
    "running",
    "start",
    "status",
    "stop",
]
