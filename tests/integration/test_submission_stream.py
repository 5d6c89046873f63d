"""Submission is a stream: shards are in the bucket while the list is still being written, and memory stays flat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from maskmill.errors import MaskmillError, SourceError
from maskmill.jobs import submit as submission
from maskmill.jobs.account import read_references
from maskmill.jobs.submit import submit
from maskmill.schema import Execution, JobRecord, Spec
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill.storage.store import Store
from tests.conftest import wait_for

SHARD_SIZE = 50
AT_FIRST, IMAGES = 2 * SHARD_SIZE, 5 * SHARD_SIZE
PATIENCE_SECONDS = 60.0

LINES = {
    "txt": "/photos/{n}.jpg\n",
    "csv": "/photos/{n}.jpg,a cat\n",
    "jsonl": json.dumps({"uri": "/photos/NUMBER.jpg"}) + "\n",
}
HEADERS = {"csv": "uri,label\n"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"shard_size": SHARD_SIZE})


@pytest.fixture
def store(services: Services, settings: Settings) -> Store:
    return services.store(settings.out)


class Writer(threading.Thread):
    """Writes two shards' lines into a pipe, and the rest once the first shard is in the bucket."""

    def __init__(self, pipe: Path, kind: str, store: Store) -> None:
        super().__init__()
        self.pipe, self.kind, self.store = pipe, kind, store
        self.first_came_meanwhile = False
        self.start()

    def run(self) -> None:
        with self.pipe.open("w") as file:
            file.write(HEADERS.get(self.kind, ""))
            self._write(file, range(AT_FIRST))
            try:
                wait_for(self._is_first_shard_there, lambda: "no shard yet", PATIENCE_SECONDS)
                self.first_came_meanwhile = True
            finally:
                self._write(file, range(AT_FIRST, IMAGES))

    def _write(self, file: IO[str], numbers: range) -> None:
        line = LINES[self.kind]
        file.writelines(line.replace("{n}", str(n)).replace("NUMBER", str(n)) for n in numbers)
        file.flush()

    def _is_first_shard_there(self) -> bool:
        return any("/shards/" in item.key for item in self.store.list("jobs/"))


def submitted(services: Services, source: str, stdin: IO[str] | None = None) -> JobRecord:
    return submit(
        services, [source], out=services.settings.out, spec=Spec(model="m"), execution=Execution(), stdin=stdin
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", LINES)
def test_the_first_shard_is_stored_before_the_list_is_whole(
    services: Services, store: Store, tmp_path: Path, kind: str
) -> None:
    pipe = tmp_path / f"list.{kind}"
    os.mkfifo(pipe)
    writer = Writer(pipe, kind, store)
    record = submitted(services, str(pipe))
    writer.join()
    assert writer.first_came_meanwhile
    assert (record.images, record.shards) == (IMAGES, IMAGES // SHARD_SIZE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_first_shard_is_stored_before_standard_input_ends(services: Services, store: Store, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Writer(pipe, "txt", store)
    with pipe.open() as stdin:
        record = submitted(services, "-", stdin)
    writer.join()
    assert writer.first_came_meanwhile
    assert record.images == IMAGES


def test_a_prefix_is_listed_in_the_store_of_the_sources(services: Services, store: Store, settings: Settings) -> None:
    for n in range(3):
        store.put(f"photos/{n}.jpg", b"")
    store.put("photos/notes.txt", b"")
    elsewhere = settings.s3.model_copy(update={"access_key_id": "nobody"})
    near = submitted(services, f"{settings.out}/photos/")
    services.settings = settings.model_copy(update={"source_s3": elsewhere})
    with pytest.raises(MaskmillError):
        submitted(services, f"{settings.out}/photos/")
    assert near.images == 3


@pytest.mark.parametrize("exclude", ["masks", "masks/"])
def test_images_below_the_excluded_folder_are_left_out(services: Services, tmp_path: Path, exclude: str) -> None:
    for name in ("masks", "masks-of-cats"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    where = {"out": services.settings.out, "exclude": f"{tmp_path}/{exclude}"}
    record = submit(services, [str(tmp_path)], spec=Spec(model="m"), execution=Execution(), **where)
    [reference] = read_references(services.store(services.settings.out), record.job, 0)
    assert reference.uri == f"{tmp_path}/masks-of-cats/a.png"
    with pytest.raises(SourceError, match="where the masks go"):
        submit(services, [f"{tmp_path}/masks"], spec=Spec(model="m"), execution=Execution(), **where)


def test_no_more_is_read_ahead_than_the_shards_that_are_being_put(
    services: Services, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, most_ahead = 0, 0

    def expand(*_: object, **__: object) -> Iterator[str]:
        nonlocal taken
        for n in range(100 * SHARD_SIZE):
            taken += 1
            yield f"/photos/{n}.jpg"

    def note(stored: int) -> None:
        nonlocal most_ahead
        most_ahead = max(most_ahead, taken - stored)

    monkeypatch.setattr(submission.sources, "expand", expand)
    submit(services, ["-"], out=services.settings.out, spec=Spec(model="m"), execution=Execution(), on_images=note)
    assert taken == 100 * SHARD_SIZE
    assert most_ahead <= (2 * submission.PUT_THREADS + 2) * 2 * SHARD_SIZE


REFERENCES = 120_000
MAX_GROWTH_BYTES = 12 * 2**20

SUBMIT = """
import sys
import tracemalloc
from maskmill import Client

few, many = sys.argv[1:]
client = Client()
client.submit(few, model="demo")  # what is imported and connected once is there
tracemalloc.start()
job = client.submit(many, model="demo")
print(job.record().images, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.slow
def test_a_long_list_takes_no_more_memory_at_any_moment_than_the_shards_that_are_being_put(
    environment: dict[str, str], tmp_path: Path
) -> None:
    few, many = tmp_path / "few.txt", tmp_path / "many.txt"
    few.write_text("/photos/a.jpg\n")
    with many.open("w") as file:
        file.writelines(f"https://example.org/a/rather/deep/folder/of/images/{n:09d}.jpg\n" for n in range(REFERENCES))
    command = [sys.executable, "-c", SUBMIT, few, many]

    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)

    assert result.returncode == 0, result.stderr
    images, peak = map(int, result.stdout.split())
    assert images == REFERENCES
    assert peak < MAX_GROWTH_BYTES, peak
