"""Submission is a stream: shards are in the bucket while the list is still being written, and memory stays flat."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest

from maskmill import Job
from maskmill.errors import MaskmillError, SourceError
from maskmill.jobs import submit as submission
from maskmill.jobs.records import read_references
from maskmill.jobs.submit import submit
from maskmill.schema import Execution, JobRecord, Spec
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill.storage.store import Store
from tests.conftest import wait_for
from tests.serving import serving

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


def test_the_column_that_is_named_holds_the_images(services: Services, store: Store, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("uri,photo\n/thumbs/a.jpg,/photos/a.jpg\n")
    record = submit(
        services,
        [str(tmp_path / "list.csv")],
        out=services.settings.out,
        spec=Spec(model="demo"),
        execution=Execution(),
        column="photo",
    )
    assert [each.uri for each in read_references(store, record.job, 0)] == ["/photos/a.jpg"]


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


# The account starts at the source


def put_all(store: Store, *keys: str) -> None:
    for key in keys:
        store.put(key, b"")


def test_masks_of_an_earlier_job_below_a_prefix_are_left_out(services: Services, store: Store) -> None:
    put_all(store, "a.jpg", "b/c.jpg", "b/.d.jpg", "notes.txt")
    everything = f"{services.settings.out}/"
    nights = [f"{services.settings.out}/masks", f"{services.settings.out}/night", services.settings.out]
    for out in nights:
        record = submit(services, [everything], out=out, spec=Spec(model="m"), execution=Execution())
        put_all(services.store(out), *(each.mask_key for each in read_references(services.store(out), record.job, 0)))
        assert record.images == 2
        assert record.found == 2 + sum(record.left_out.values())
    assert record.left_out["own_result"] == 2 * (2 + 2)
    assert (record.left_out["hidden"], record.left_out["not_an_image_name"]) == (1, 1)


def test_the_account_is_in_the_record_the_ledger_and_the_manifest(services: Services, tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text('{"url": "a.jpg"}\n{"url": "./a.jpg"}\n{"url": null}\n{"other": 1}\n')
    record = submitted(services, str(tmp_path / "l.jsonl"))
    left_out = {"duplicate": 1, "empty": 1}
    assert (record.found, record.images, record.left_out) == (4, 2, left_out)
    assert record.left_out_examples == {"duplicate": f"{tmp_path}/a.jpg", "empty": f"{tmp_path}/l.jsonl#row=3"}
    job = Job(record.job, services.settings.out, services)
    assert (job.status().found, job.status().left_out) == (4, left_out)
    services.ledger.forget(record.job)
    job.resume()
    assert job.status().left_out == left_out
    job.cancel()
    manifest = job.manifest()
    assert manifest is not None
    assert (manifest.found, manifest.submitted, manifest.left_out) == (4, 2, left_out)
    services.ledger.forget(record.job)
    assert (job.status().found, job.status().left_out) == (4, left_out)


def test_strict_refuses_what_is_left_out_and_leaves_nothing_behind(
    services: Services, store: Store, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.heic", "noextension"):
        (tmp_path / name).write_bytes(b"")
    where = {"out": services.settings.out, "spec": Spec(model="m"), "execution": Execution()}
    with pytest.raises(SourceError, match=r"1 not an image by its name .*noextension"):
        submit(services, [str(tmp_path)], strict=True, **where)
    assert not list(store.list())
    assert not services.ledger.open_jobs()
    assert submit(services, [str(tmp_path)], strict=True, all_files=True, **where).images == 3


def test_a_source_that_is_missing_is_told_before_anything_is_written(
    services: Services, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "l.txt").write_text("".join(f"{n}.jpg\n" for n in range(10 * SHARD_SIZE)))
    where = {"out": services.settings.out, "spec": Spec(model="m"), "execution": Execution()}
    with pytest.raises(SourceError, match=r"gone\.jpg"):
        submit(services, [str(tmp_path / "l.txt"), str(tmp_path / "gone.jpg")], **where)
    assert not list(store.list())


@pytest.mark.parametrize(
    "sources", [["photos"], ["photos/a.jpg"], ["photos/*.jpg", "other/x.jpg"], ["l.txt", "photos"]]
)
def test_a_mask_s_path_does_not_depend_on_what_is_given_with_it(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str]
) -> None:
    for name in ("photos/a.jpg", "other/x.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "l.txt").write_text("other/x.jpg\n")
    monkeypatch.chdir(tmp_path)
    where = {"out": services.settings.out, "spec": Spec(model="m"), "execution": Execution()}
    for root, expected in (
        (None, "photos/a.jpg"),
        ("photos", "a.jpg"),
        (str(tmp_path.parent), f"{tmp_path.name}/photos/a.jpg"),
    ):
        record = submit(services, sources, root=root, **where)
        found = read_references(services.store(services.settings.out), record.job, 0)
        [key] = [each.mask_key for each in found if each.uri.endswith("photos/a.jpg")]
        assert key == f"masks/{expected}.png"


def test_a_list_in_the_store_and_one_at_a_web_address_are_read(
    services: Services, store: Store, tmp_path: Path, web_folder: str
) -> None:
    store.put("lists/l.csv", b"name;url\nx;../img/a.jpg\ny;http://host/b.jpg\n")
    (tmp_path / "l.ndjson.gz").write_bytes(gzip.compress(b'{"url": "c.jpg"}\n'))
    record = submit(
        services,
        [f"{services.settings.out}/lists/l.csv", f"{web_folder}/l.ndjson.gz"],
        out=services.settings.out,
        spec=Spec(model="m"),
        execution=Execution(),
    )
    found = [each.uri for each in read_references(store, record.job, 0)]
    assert found == [f"{services.settings.out}/img/a.jpg", "http://host/b.jpg", f"{web_folder}/c.jpg"]


@pytest.fixture
def web_folder(tmp_path: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"
