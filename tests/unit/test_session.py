"""A worker that was started beside the servers, when these then come up elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from maskmill_producer import embedded
from maskmill_producer.local import session as sessions
from maskmill_producer.local.session import session


def servers_at(port: int, folder: Path) -> embedded.Servers:
    return embedded.Servers(f"redis://:s@127.0.0.1:{port}/0", "http://127.0.0.1:1", "k", "s", "r", "b", folder)


@dataclass
class Place:
    """Servers that are announced in one place and come up in another; `seen` is what became of workers, in order."""

    announced: embedded.Servers
    real: embedded.Servers
    fails: bool = False
    seen: list[str] = field(default_factory=list)

    @contextmanager
    def running(self, _state_dir: Path | None, on_launch: Callable[[embedded.Servers], None]) -> Iterator[object]:
        on_launch(self.announced)
        if self.fails:
            raise embedded.EmbeddedServersFailed("not healthy")
        yield self.real
        self.seen.append("servers stop")

    def worker(self, _arguments: Sequence[str], environment: Mapping[str, str], _log: Path) -> FakeWorker:
        return FakeWorker(self, environment["MASKMILL_BROKER_URL"].rpartition(":")[2])


class FakeWorker:
    def __init__(self, place: Place, where: str) -> None:
        self.place, self.where = place, where
        self.say("starts")

    def say(self, what: str) -> None:
        self.place.seen.append(f"{self.where} {what}")

    def stop(self) -> None:
        self.say("stops")

    def kill(self) -> None:
        self.say("killed")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(servers_at(1, tmp_path), servers_at(1, tmp_path))
    monkeypatch.setattr(sessions.embedded, "running", made.running)
    monkeypatch.setattr(sessions, "WorkerProcess", made.worker)
    return made


def begin(*, at_once: bool = True) -> None:
    with session(None, [], {"prefix": "p", "queue": "q"}, worker_at_once=at_once):
        pass


def test_the_worker_ends_before_its_servers(place: Place) -> None:
    begin()
    assert place.seen[:3] == ["1/0 starts", "1/0 stops", "servers stop"]


def test_servers_that_came_up_elsewhere_get_another_worker(place: Place, tmp_path: Path) -> None:
    place.real = servers_at(2, tmp_path)
    begin()
    assert place.seen[:5] == ["1/0 starts", "1/0 stops", "2/0 starts", "2/0 stops", "servers stop"]


def test_servers_that_never_come_up_leave_no_worker(place: Place) -> None:
    place.fails = True
    with pytest.raises(embedded.EmbeddedServersFailed):
        begin()
    assert place.seen == ["1/0 starts", "1/0 killed"]


def test_a_worker_that_may_not_be_needed_is_not_started(place: Place) -> None:
    begin(at_once=False)
    assert place.seen == ["servers stop"]
