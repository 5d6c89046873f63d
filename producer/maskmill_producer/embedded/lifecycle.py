"""The life of one server, whichever it is: found or launched, waited for, ended."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Protocol

from maskmill_producer.embedded.errors import EmbeddedServersFailed
from maskmill_producer.embedded.process import Launch, ask_all, owner, see_off, spawn, tail
from maskmill_producer.embedded.state import Record, State

LAUNCHES = 3
POLL_SECONDS = 0.05


class Server(Protocol):
    """What differs between the servers; `ports` always has the port that clients use first."""

    name: ClassVar[str]
    grace_seconds: ClassVar[float]
    """From SIGTERM to SIGKILL."""

    def choose_ports(self, preferred: tuple[int, ...]) -> tuple[int, ...]:
        """The ports to launch on: the preferred ones if they are free."""

    def launch(self, ports: tuple[int, ...]) -> Launch:
        """How to start it on these ports."""

    def check(self, ports: tuple[int, ...]) -> None:
        """Raise any exception while the server does not serve us."""


@dataclass
class Rising:
    """A server on its way up: the process that was found or launched, whether or not it serves anybody yet.

    broker, store = launch(Broker(…), state), launch(ObjectStore(…), state)   # both start now
    broker.wait(deadline)
    store.wait(deadline)
    """

    server: Server
    state: State
    record: Record

    def wait(self, deadline: float) -> tuple[int, ...]:
        """The ports of the server once it is healthy; it is launched anew, on other ports, if it ends.

        Raises `EmbeddedServersFailed` if it keeps ending, or is not healthy at `deadline` (monotonic seconds).
        """
        for left in reversed(range(LAUNCHES)):  # a free port may be taken before the server listens on it
            if _becomes_healthy(self.server, self.state, self.record, deadline):
                return self.record.ports
            if left:
                take_down(self.state, type(self.server))
                self.record = _launch(self.server, self.state, self.server.choose_ports(()))
        raise failure(self.server.name, self.state, f"ended {LAUNCHES} times while starting")


def launch(server: Server, state: State) -> Rising:
    """The server that runs, or a new one with the old data (and ports, if free); waits for neither."""
    record = state.record(server.name)
    if record and owner(state.folder(server.name), record.pid):
        return Rising(server, state, record)
    take_down(state, type(server))
    return Rising(server, state, _launch(server, state, server.choose_ports(record.ports if record else ())))


def take_down(state: State, *kinds: type[Server]) -> bool:
    """End the servers of these kinds: each is asked, in this order, before any is waited for. True if one ran."""
    asked = [(kind, ask_all(state.folder(kind.name))) for kind in kinds]
    for kind, processes in asked:
        for process in processes:
            see_off(process, kind.grace_seconds)
    return any(processes for _, processes in asked)


def _launch(server: Server, state: State, ports: tuple[int, ...]) -> Record:
    folder = state.folder(server.name)
    # weed keeps its last flags in this file and mixes them into the new ones.
    (folder / "mini.options").unlink(missing_ok=True)
    pid = spawn(server.launch(ports), folder, state.log(server.name))
    record = Record(pid, ports)
    state.note(server.name, record)
    return record


def _becomes_healthy(server: Server, state: State, record: Record, deadline: float) -> bool:
    """True when the check passes, False if the process ends; `EmbeddedServersFailed` at the deadline."""
    while owner(state.folder(server.name), record.pid):
        try:
            server.check(record.ports)
        except Exception as error:  # whatever it is may pass; at the deadline it is the cause
            if time.monotonic() > deadline:
                raise failure(server.name, state, f"(pid {record.pid}) is not healthy: {error}") from error
        else:
            return True
        time.sleep(POLL_SECONDS)
    return False


def failure(name: str, state: State, what: str) -> EmbeddedServersFailed:
    """What happened to a server, with the end of its log."""
    log = state.log(name)
    ending = f"Its log, {log}, ends with:\n{tail(log)}"
    return EmbeddedServersFailed(f"the embedded {name} {what}. {ending}")
