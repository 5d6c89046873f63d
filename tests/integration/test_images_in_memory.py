"""Images in memory as sources of a job: in the bucket below the job, by their content, and gone with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from maskmill import Client, Job
from maskmill.addresses import identity
from maskmill.errors import SourceError, StoreUnavailable
from maskmill.images.in_memory import encoded
from maskmill.jobs import inputs
from maskmill.jobs.outcomes import Decided
from maskmill.jobs.records import read_references
from maskmill.schema import Reference
from maskmill.storage import keys
from maskmill.storage.download import content_digest
from tests.integration.finished_jobs import finish


def grey(value: int) -> Any:
    return np.full((4, 6), value, np.uint8)


def references(job: Job) -> list[Reference]:
    return [each for shard in range(job.record().shards) for each in read_references(job.store, job.id, shard)]


def images(job: Job) -> dict[str, bytes]:
    return {item.key.rpartition("/")[2]: job.store.get(item.key) for item in job.store.list(keys.images(job.id))}


def test_images_lie_below_the_job_by_their_content_and_equal_ones_once(client: Client) -> None:
    job = client.submit([grey(1), grey(2), grey(1), None], model="demo")
    assert images(job) == {content_digest(each): each for each in map(encoded, (grey(1), grey(2)))}
    record = job.record()
    assert (record.found, record.images, record.left_out, record.inputs) == (4, 3, {"duplicate": 1}, 4)
    assert record.sources == ("memory://",)
    assert [each.input for each in references(job)] == [0, 1, 3]
    assert [bool(each.problem) for each in references(job)] == [False, False, True]
    again = client.submit([grey(2)], model="demo")
    assert references(again)[0].mask_key == references(job)[1].mask_key
    assert references(again)[0].uri == references(job)[1].uri
    assert references(again)[0].uri.reveal() != references(job)[1].uri.reveal()


def test_with_repeats_each_input_has_its_own_outcome(client: Client) -> None:
    job = client.submit([grey(1), grey(2), grey(1)], model="demo", repeats=True)
    finish(client, job)
    assert [each.input for each in references(job)] == [0, 1, 2]
    assert [result.input for result in job.results()] == [0, 1, 2]
    assert job.to_arrow()["input"].to_pylist() == [0, 1, 2]


def test_images_go_with_the_job_and_not_before(client: Client) -> None:
    job = client.submit([grey(1), grey(2)], model="demo")
    finish(client, job, failed={content_digest(encoded(grey(2))): "timeout"})
    assert len(images(job)) == 2
    assert job.retry() == 1
    finish(client, job)
    assert [result.input for result in job.results()] == [0, 1]
    job.delete()
    assert not list(job.store.list("jobs/"))


def test_paths_and_images_mix_in_one_iterable(client: Client, tmp_path: Any) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", ".hidden.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"")
    given = iter([grey(1), tmp_path / "photos", str(tmp_path / "gone.jpg"), "https://host/c.jpg"])
    job = client.submit(given, model="demo")
    found = [(each.input, str(each.uri).rpartition("/")[2]) for each in references(job)]
    digest = content_digest(encoded(grey(1)))
    assert found == [(0, digest), (1, "a.jpg"), (1, "b.jpg"), (2, "gone.jpg"), (3, "c.jpg")]
    assert job.record().left_out == {"hidden": 1}
    assert "no such file" in (references(job)[3].problem or "")


def test_a_program_may_write_its_next_frame_into_the_same_array(client: Client) -> None:
    def frames() -> Iterator[Any]:
        frame = grey(0)
        for value in range(40):
            frame[:] = value
            yield frame

    job = client.submit(frames(), model="demo")
    assert sorted(images(job).values()) == sorted(encoded(grey(value)) for value in range(40))
    assert [identity(each.uri) for each in references(job)] == [
        f"memory://{content_digest(encoded(grey(value)))}" for value in range(40)
    ]


def test_an_iterable_that_raises_leaves_nothing(client: Client) -> None:
    def frames() -> Iterator[Any]:
        yield from map(grey, range(30))
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="camera"):
        client.submit(frames(), model="demo")
    assert not list(client.services.store(client.settings.out).list())


def test_an_iterable_without_inputs_is_said_to_be_empty(client: Client) -> None:
    with pytest.raises(SourceError, match="given is empty"):
        client.submit(iter([]), model="demo")


def test_a_limit_ends_an_endless_iterable(client: Client) -> None:
    def frames() -> Iterator[Any]:
        number = 0
        while True:
            yield grey(number % 256)
            number += 1

    job = client.submit(frames(), model="demo", limit=20)
    assert job.record().images == 20


def test_a_store_that_goes_away_ends_the_submission(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    put = client.services.store(client.settings.out).put

    def away(key: str, *rest: Any) -> None:
        if "/images/" in key:
            raise StoreUnavailable("the store went away")
        put(key, *rest)

    monkeypatch.setattr(client.services.store(client.settings.out), "put", away)
    with pytest.raises(StoreUnavailable, match=r"went away.*is no job yet"):
        client.submit([grey(1)], model="demo")


def test_large_images_are_put_before_the_next_is_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LARGE_BYTES", 1)
    read = stored = ahead = 0
    put = client.services.store(client.settings.out).put

    def counted(key: str, *rest: Any) -> None:
        nonlocal stored
        put(key, *rest)
        stored += "/images/" in key

    def frames() -> Iterator[Any]:
        nonlocal read, ahead
        for value in range(30):
            ahead = max(ahead, read - stored)
            read += 1
            yield grey(value)

    monkeypatch.setattr(client.services.store(client.settings.out), "put", counted)
    client.submit(frames(), model="demo")
    assert (stored, ahead) == (30, 0)


def test_outcomes_stand_beside_their_references(client: Client) -> None:
    job = client.submit([grey(1), grey(2)], model="demo")
    assert Decided(job.store, job.id).paired(0) == []
    finish(client, job)
    assert [(of.input if of else None) for _, of in Decided(job.store, job.id).paired(0)] == [0, 1]


STREAM = """
import sys, tracemalloc
import numpy as np
from maskmill import Client

def frames(number):
    for n in range(number):
        yield np.full((512, 512, 3), n % 256, np.uint8) + np.uint8(n // 256)

client = Client()
client.submit(frames(1), model="demo")
tracemalloc.start()
job = client.submit(frames(300), model="demo", repeats=True)
print(job.record().images, tracemalloc.get_traced_memory()[1])
"""


def test_a_stream_of_arrays_is_not_held_in_memory(environment: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", STREAM], env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    number, peak = map(int, result.stdout.split())
    assert number == 300
    assert peak < 30 * 2**20, peak  # all together they are 236 MB
