"""Results as files: as a stream, once, of one job, and never outside of the folder."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from maskmill import Client, Job, Settings
from maskmill.errors import InvalidRecord, UsageError
from maskmill.job import READERS
from maskmill.masks.segment_map import decode
from maskmill.schema import Manifest, Outcome, Status
from maskmill.storage import keys
from maskmill_producer.local.copier import THREADS
from maskmill_producer.local.folder import PARTS, Folder, Unplaceable
from maskmill_producer.local.mirror import check_replaceable, mirror
from tests.integration.finished_jobs import SEGMENTS, finished_job, key_of, mask_png, submitted_job

NAMES = [f"{n:02d}" for n in range(11)]
HOSTILE_KEYS = [
    "/etc/evil.png",
    "../../evil.png",
    "masks/../../evil.png",
    "masks/..",
    "masks/a/../../../evil.png",
    "masks/..\\..\\evil.png",
    "masks\\evil.png",
    "C:/evil.png",
    "masks/C:/evil.png",
    "masks//evil.png",
    "masks/./evil.png",
    "masks/nul\x00.png",
    "other/evil.png",
    "masks/",
    "",
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"shard_size": 3})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "in" / "a" / "folder"


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def masks(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in (out / "masks").rglob("*") if path.is_file())


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def outside(tmp_path: Path, out: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if not path.is_dir() and out not in path.parents]


class Asked:
    """The keys that a job's store is asked for."""

    def __init__(self, job: Job) -> None:
        self.masks: list[str] = []
        real = job.store.get

        def get(key: str) -> bytes:
            self.masks += [key] if key.startswith("masks/") else []
            return real(key)

        job.store.get = get  # type: ignore[method-assign]


# What is copied


def test_a_folder_gets_masks_metadata_failures_and_manifest(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES, failed=NAMES[2:4])

    mirrored = mirror(job, out)

    assert (mirrored.copied, mirrored.there, mirrored.not_copied) == (9, 0, 0)
    good = [name for name in NAMES if name not in NAMES[2:4]]
    assert masks(out) == [key_of(name) for name in good]
    assert [row["mask_key"] for row in rows(out / "metadata.jsonl")] == masks(out)
    for row in rows(out / "metadata.jsonl"):
        assert decode((out / row["mask_key"]).read_bytes())[1].uri == row["uri"]
    assert [row["uri"] for row in rows(out / "failures.jsonl")] == ["/photos/02.jpg", "/photos/03.jpg"]
    assert Manifest.from_json((out / "manifest.json").read_bytes()) == job.manifest()
    assert sorted(path.name for path in out.iterdir()) == [
        "classes.json", "failures.jsonl", "job.json", "manifest.json", "masks", "metadata.jsonl",
    ]  # fmt: skip


def test_a_second_download_fetches_what_is_missing_or_damaged(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES)
    mirror(job, out)
    whole = (out / key_of("05")).read_bytes()
    (out / key_of("03")).unlink()
    (out / key_of("05")).write_bytes(whole[:-9])
    (out / key_of("07")).write_bytes(whole[:60] + b"x" + whole[61:])
    asked = Asked(job)

    mirrored = mirror(job, out)

    assert sorted(asked.masks) == [key_of("03"), key_of("05"), key_of("07")]
    assert (mirrored.copied, mirrored.there) == (3, 8)
    assert (out / key_of("05")).read_bytes() == whole
    assert len(rows(out / "metadata.jsonl")) == len(NAMES)


def test_several_processes_copy_the_same(client: Client, out: Path, tmp_path: Path) -> None:
    """A mask that is gone costs itself in another process, too."""
    job = finished_job(client, NAMES, failed=NAMES[2:4])
    job.store.delete(key_of("05"))
    seen: list[tuple[int, int]] = []

    one = mirror(job, tmp_path / "one")
    two = mirror(job, out, processes=2, on_progress=lambda *done: seen.append(done))

    assert (two.copied, [each.code for each in two.problems]) == (8, ["object_not_found"])
    assert two == one
    assert files(out) == files(tmp_path / "one")
    assert seen[-1] == (9, 9)
    assert mirror(job, out, processes=2).there == 8


def test_what_ends_the_copying_in_one_process_ends_all_and_is_gone_on_with(
    client: Client, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{n:02d}" for n in range(40)]
    job = finished_job(client, names)
    monkeypatch.setattr("maskmill_producer.local.mirror.BLOCK_IMAGES", 3)
    with pytest.raises(UsageError, match=r"cannot write to .*mend that, and run the same again"):
        mirror(job, out, processes=2, on_progress=lambda *_: shutil.rmtree(out / PARTS, ignore_errors=True))
    there = len(masks(out))
    assert 0 < there < len(names)
    mirrored = mirror(job, out, processes=2)
    assert (mirrored.there, mirrored.masks) == (there, len(names))


def test_a_job_that_runs_is_downloaded_as_far_as_it_is(client: Client, out: Path) -> None:
    job = submitted_job(client, NAMES)
    assert mirror(job, out).masks == 0
    assert not (out / "manifest.json").exists()


def test_no_connection_is_thrown_away_for_want_of_room(client: Client) -> None:
    store = client.services.store(client.settings.out)
    assert store.client.meta.config.max_pool_connections >= THREADS + READERS


def test_only_one_at_a_time_writes_to_a_folder(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES)
    with Folder.open(out), pytest.raises(UsageError, match="another maskmill"):
        mirror(job, out)
    assert mirror(job, out).copied == len(NAMES)


# Of one job


def test_a_mask_that_another_job_has_replaced_is_named_and_the_others_are_copied(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES)
    finished_job(client, NAMES[:2], threshold=0.3)

    mirrored = mirror(job, out)

    assert (mirrored.copied, mirrored.not_copied) == (9, 2)
    assert [problem.code for problem in mirrored.problems] == ["mask_replaced"] * 2
    assert masks(out) == [key_of(name) for name in NAMES[2:]]
    assert [row["mask_key"] for row in rows(out / "metadata.jsonl")] == masks(out)
    assert [row["uri"] for row in rows(out / "not-copied.jsonl")] == ["/photos/00.jpg", "/photos/01.jpg"]


def test_a_mask_of_the_same_spec_with_other_segments_is_another_one_too(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES[:2])
    changed = [replace(SEGMENTS[0], score=0.5)]
    png = mask_png("/photos/00.jpg", job.record().spec.fingerprint(), "another", changed)
    job.store.put(key_of("00"), png)
    assert [problem.code for problem in mirror(job, out).problems] == ["mask_replaced"]


def test_a_mask_that_is_gone_or_broken_in_the_store_costs_itself(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES)
    job.store.delete(key_of("01"))
    job.store.put(key_of("02"), b"not a mask")

    mirrored = mirror(job, out)

    assert mirrored.copied == 9
    assert [problem.code for problem in mirrored.problems] == ["object_not_found", "invalid_record"]


def test_a_mend_of_the_store_completes_the_folder(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES)
    whole = job.store.get(key_of("01"))
    job.store.delete(key_of("01"))
    mirror(job, out)
    job.store.put(key_of("01"), whole)

    mirrored = mirror(job, out)

    assert (mirrored.copied, mirrored.there, mirrored.not_copied) == (1, 10, 0)
    assert not (out / "not-copied.jsonl").exists()


@pytest.mark.parametrize("left", [("job.json", "manifest.json"), ("job.json",), ("manifest.json",)])
def test_a_folder_of_another_job_is_refused_with_the_cure(client: Client, out: Path, left: tuple[str, ...]) -> None:
    one, two = (finished_job(client, NAMES[:2], threshold=threshold) for threshold in (0.9, 0.3))
    mirror(two, out)
    for name in {"job.json", "manifest.json"} - set(left):
        (out / name).unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    with pytest.raises(UsageError, match=f"{two.id}.*choose another folder"):
        mirror(one, out)

    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["manifest.json", "job.json"])
def test_somebody_else_s_files_are_no_results_of_ours(client: Client, out: Path, name: str) -> None:
    out.mkdir(parents=True)
    (out / name).write_text('{"manifest_version": 3}')
    with pytest.raises(UsageError, match="choose another folder"):
        mirror(finished_job(client, NAMES[:2]), out)
    assert (out / name).read_text() == '{"manifest_version": 3}'


def test_a_mask_of_another_image_under_the_name_stays_and_is_named(client: Client, out: Path) -> None:
    """As on a disk that takes A.jpg for a.jpg, where the second one finds the first one's mask."""
    job = finished_job(client, ["a", "b"])
    mirror(job, out)
    shutil.copy(out / key_of("b"), out / key_of("a"))

    mirrored = mirror(job, out)

    assert (mirrored.there, [problem.code for problem in mirrored.problems]) == (1, ["unplaceable"])
    assert (out / key_of("a")).read_bytes() == (out / key_of("b")).read_bytes()


@pytest.mark.parametrize("disk", ["hard links", "none"])
def test_of_two_masks_that_come_at_once_under_one_name_one_is_placed(
    disk: str, client: Client, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whichever process; a half one from before is replaced."""
    job = finished_job(client, ["a", "b"])
    one, two = (result.outcome for result in job.results())
    if disk == "none":
        monkeypatch.setattr(Path, "hardlink_to", refusing)
    with Folder.open(out) as folder:
        folder.path_of(key_of("a")).write_bytes(job.store.get(key_of("b"))[:60])
        folder.put_mask(key_of("a"), job.store.get(key_of("a")), one)
        assert not list((out / PARTS).iterdir())
        with pytest.raises(Unplaceable):
            Folder.at(folder.root).put_mask(key_of("a"), job.store.get(key_of("b")), two)
    assert (out / key_of("a")).read_bytes() == job.store.get(key_of("a"))


def test_a_name_that_another_process_takes_at_the_last_moment_stays_its_own(
    client: Client, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_job(client, ["a", "b"])
    one, two = (result.outcome for result in job.results())
    with Folder.open(out) as folder:
        other, write = Folder.at(folder.root), folder._part

        def late(data: bytes) -> Path:
            other.put_mask(key_of("a"), job.store.get(key_of("a")), one)
            return write(data)

        monkeypatch.setattr(folder, "_part", late)
        with pytest.raises(Unplaceable):
            folder.put_mask(key_of("a"), job.store.get(key_of("b")), two)
    assert (out / key_of("a")).read_bytes() == job.store.get(key_of("a"))


def refusing(*_: object) -> None:
    raise PermissionError(errno.EPERM, "no hard links here")


# Inside the folder


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_an_outcome_cannot_name_a_file_outside(key: str) -> None:
    text = json.dumps({"uri": "/x/1.jpg", "status": "stored", "mask_key": key, "segments": []})
    with pytest.raises(InvalidRecord):
        Outcome.from_json(text)


@pytest.mark.parametrize("key", [key for key in HOSTILE_KEYS if ".." in key.split("/") or key.startswith("/")])
def test_and_if_it_could_the_folder_would_not_write_it(key: str, out: Path) -> None:
    with Folder.open(out) as folder, pytest.raises(Unplaceable):
        folder.path_of(key)


@pytest.mark.parametrize("key", ["../../../evil.png", "masks/../../../evil.png"])
def test_a_hostile_account_writes_nothing_outside(client: Client, out: Path, tmp_path: Path, key: str) -> None:
    job = submitted_job(client, NAMES[:2])
    good, evil = (
        {"uri": f"/x/{n}.jpg", "status": "stored", "mask_key": k, "segments": [], "fingerprint": "f" * 32}
        for n, k in enumerate(("masks/x/0.jpg.png", key))
    )
    lines = [json.dumps(each) for each in (good, evil)]
    report = {"job": job.id, "shard": 0, "attempt": 1, "worker": "w", "finished": "2026-11-22T00:00:00Z"}
    job.store.put(keys.report(job.id, 0), json.dumps(report | {"outcomes": [good, evil]}).encode())
    job.store.put(keys.metadata(job.id, 0), "\n".join(lines).encode())
    job.store.put("masks/x/0.jpg.png", mask_png("/x/0.jpg", "f" * 32, job.id))

    with pytest.raises(InvalidRecord):
        mirror(job, out)

    assert outside(tmp_path, out) == []


@pytest.mark.parametrize("link", ["masks", "masks/file"])
def test_a_link_in_the_folder_does_not_lead_out(client: Client, out: Path, tmp_path: Path, link: str) -> None:
    job = finished_job(client, NAMES)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "file" / "photos").mkdir(parents=True)
    (out / link).parent.mkdir(parents=True, exist_ok=True)
    (out / link).symlink_to(elsewhere, target_is_directory=True)

    mirrored = mirror(job, out)

    assert (mirrored.masks, mirrored.not_copied) == (0, len(NAMES))
    assert {problem.code for problem in mirrored.problems} == {"unplaceable"}
    assert outside(tmp_path, out) == []


@pytest.mark.parametrize("name", [key_of("00"), "metadata.jsonl", "failures.jsonl", "manifest.json", ".parts"])
def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(
    client: Client, out: Path, tmp_path: Path, name: str
) -> None:
    job = finished_job(client, NAMES)
    victim = tmp_path / "victim"
    victim.write_text("mine") if name != ".parts" else victim.mkdir()
    (out / name).parent.mkdir(parents=True)
    if name == key_of("00"):
        victim.write_bytes(job.store.get(name))  # the very mask, and yet not in the folder
    if name == "manifest.json":
        victim.write_bytes((job.manifest() or pytest.fail("no manifest")).to_json())
    before = victim.read_bytes() if victim.is_file() else None
    (out / name).symlink_to(victim)

    mirrored = mirror(job, out)

    assert mirrored.copied == len(NAMES)
    assert (victim.read_bytes() if before is not None else list(victim.iterdir())) == (before or [])
    assert not (out / name).is_symlink()


# What a file system does not take


def outcome_of(key: str, name: str) -> Outcome:
    return Outcome(
        uri=f"/photos/{name}.jpg", status=Status.STORED, mask_key=key, fingerprint="f" * 32, segments=SEGMENTS
    )


def job_of(client: Client, outcomes: Sequence[Outcome]) -> Job:
    """A job whose one shard has these outcomes, with a mask for each."""
    job = submitted_job(client, NAMES[:2])
    job.store.put(keys.metadata(job.id, 0), b"".join(outcome.to_json() + b"\n" for outcome in outcomes))
    for outcome in (each for each in outcomes if len(each.mask_key or "") < 255):  # longer than our test store takes
        job.store.put(outcome.mask_key or "", mask_png(outcome.uri, "f" * 32, job.id))
    return job


@pytest.mark.parametrize(
    "key",
    [f"masks/{'a' * 300}.png", "masks/a-file/below.png", "masks/folder"],
    ids=["long", "below a file", "a folder"],
)
def test_a_name_that_cannot_be_costs_its_own_image(client: Client, out: Path, key: str) -> None:
    (out / "masks" / "folder" / "full").mkdir(parents=True)
    (out / "masks" / "a-file").write_text("mine")
    job = job_of(client, [outcome_of("masks/one.png", "one"), outcome_of(key, "two"), outcome_of("masks/3.png", "3")])

    mirrored = mirror(job, out)

    assert (mirrored.copied, [problem.uri for problem in mirrored.problems]) == (2, ["/photos/two.jpg"])
    assert (out / "masks" / "a-file").read_text() == "mine"
    assert not (out / ".parts").exists()


def test_a_folder_that_is_a_file_is_one_error(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot write to"):
        mirror(finished_job(client, NAMES[:2]), tmp_path / "file")


# A run with other parameters


def test_a_run_with_another_threshold_leaves_its_own_masks_alone(client: Client, out: Path) -> None:
    before = finished_job(client, NAMES)
    mirror(before, out, replace=True)
    (out / "masks" / "file" / "mine.txt").write_text("mine")
    job = finished_job(client, NAMES[3:], threshold=0.3, failed=NAMES[5:7])

    mirrored = mirror(job, out, replace=True)

    assert mirrored.copied == 6
    kept = [key_of(name) for name in NAMES[3:] if name not in NAMES[5:7]]
    assert masks(out) == sorted([*kept, "masks/file/mine.txt"])
    assert [row["mask_key"] for row in rows(out / "metadata.jsonl")] == kept
    fingerprints = {decode((out / key).read_bytes())[1].fingerprint for key in kept}
    assert fingerprints == {job.record().spec.fingerprint()}
    assert not (out / "masks.replaced").exists()


def test_a_run_again_takes_the_masks_over_without_fetching_them(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    job = finished_job(client, NAMES, reused=NAMES)
    asked = Asked(job)

    mirrored = mirror(job, out, replace=True)

    assert (asked.masks, mirrored.there) == ([], len(NAMES))
    assert masks(out) == [key_of(name) for name in NAMES]
    assert not (out / "masks.replaced").exists()


KILLED = """
import os, sys
from pathlib import Path
from maskmill import Client
from maskmill.jobs.records import read_job
from maskmill_producer.local import folder
from maskmill_producer.local.mirror import mirror

job, left = Client().job(sys.argv[1]), int(sys.argv[3])
def counted(real):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return real(*arguments, **options)
    return call

for name in ("replace", "rename", "unlink"):
    setattr(Path, name, counted(getattr(Path, name)))
mirror(job, Path(sys.argv[2]), replace=True)
"""


@pytest.mark.parametrize("files", [0, 1, 3, 6, 8, 11, 13, 16, 19, 24])
def test_a_replacement_that_is_killed_goes_on_the_next_time(
    client: Client, out: Path, environment: dict[str, str], files: int
) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    (out / "masks" / "mine.txt").write_text("mine")
    job = finished_job(client, NAMES[3:], threshold=0.3, failed=NAMES[5:7])
    command = [sys.executable, "-c", KILLED, job.id, str(out), str(files)]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert killed.returncode == 9, killed.stderr

    mirror(job, out, replace=True)

    kept = [key_of(name) for name in NAMES[3:] if name not in NAMES[5:7]]
    assert masks(out) == sorted([*kept, "masks/mine.txt"])
    assert [row["mask_key"] for row in rows(out / "metadata.jsonl")] == kept
    assert sorted(path.name for path in out.iterdir()) == [
        "classes.json", "failures.jsonl", "job.json", "manifest.json", "masks", "metadata.jsonl",
    ]  # fmt: skip


def test_results_of_other_sources_are_not_for_a_run_to_remove(client: Client, out: Path) -> None:
    check_replaceable(out, ["/photos"])
    job = finished_job(client, NAMES[:2])
    mirror(job, out)
    check_replaceable(out, [*job.record().sources, "/more"])
    with pytest.raises(UsageError, match="other sources"):
        check_replaceable(out, ["/more"])
    (out / "job.json").unlink()
    with pytest.raises(UsageError, match="other sources"):
        check_replaceable(out, job.record().sources)
