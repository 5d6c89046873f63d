"""A job's results as files in a folder: masks, `metadata.jsonl`, `failures.jsonl`, `classes.json`, `manifest.json`.

Outcomes pass through as a stream: a few are in memory at a time, however many the job has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from maskmill.addresses import Address
from maskmill.colours import colour_of, in_hex
from maskmill.cores import usable_cores
from maskmill.dataset.in_processes import OnProgress, Pool
from maskmill.errors import UsageError
from maskmill.images.folders import METADATA
from maskmill.job import Job
from maskmill.jobs.records import current_round, read_classes
from maskmill.schema import PROBLEMS_KEPT, FailureRow, ImageProblem, JobRecord
from maskmill.storage.ahead import batched
from maskmill_producer.local.copier import Copied, Copier
from maskmill_producer.local.folder import (
    ACCOUNT,
    CLASSES,
    FAILURES,
    JOB,
    MANIFEST,
    NOT_COPIED,
    Folder,
    owner,
)
from maskmill_producer.local.overlays import drop_stale_overlays
from maskmill_producer.local.replacement import drop_masks_aside, set_masks_aside
from maskmill_producer.local.typed_lines import TypedLines

FEW_IMAGES = 2000
"""So many are copied before other processes have started."""

PROCESSES = 8
"""More ask of a store more than it gives."""

BLOCK_IMAGES = 512
"""Images whose shards a process takes at a time."""


@dataclass
class Mirrored:
    """What was done: masks copied, masks that were there already, and those that could not be copied.

    `removed` are masks of the results before these that are no longer part of them.
    """

    copied: int = 0
    there: int = 0
    not_copied: int = 0
    removed: int = 0
    problems: list[ImageProblem] = field(default_factory=list)

    @property
    def masks(self) -> int:
        """Masks of the job in the folder now."""
        return self.copied + self.there


def mirror(
    job: Job,
    path: Path,
    *,
    replace: bool = False,
    processes: int | None = None,
    on_progress: OnProgress = lambda _done, _all: None,
) -> Mirrored:
    """Copy the job's masks and account below a folder; what is there already is not fetched again.

    `mirror(Client().job("20261122-205301-9f86d081"), Path("masks"))`

    A folder holds one job's results: another job's are refused, or replaced with `replace`. Then masks that the old
    account named and the new one does not are removed at the end; what no account has named stays. Each file is
    complete or absent. Raises `UsageError` when the folder cannot be written.
    """
    try:
        with Folder.open(path) as folder:
            record = job.record()
            _enter(folder, record, replace=replace)
            result = _copy_masks(_copied(job, record, folder, processes, on_progress), job, folder)
            _write_failures(job, folder)
            if manifest := job.manifest():
                folder.write(MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
            result.removed = drop_masks_aside(folder)
            drop_stale_overlays(folder)
    except OSError as error:
        raise UsageError(
            f"cannot write to {path} ({error.strerror or error}): mend that, and run the same again"
        ) from error
    return result


def check_replaceable(path: Path, sources: Sequence[Address]) -> None:
    """Raise `UsageError` if a run of these sources into the folder would remove results of other ones.

    A record hides the secrets of its sources, so sources are the same here if what may be shown of them is.
    """
    before = owner(path)
    if before is not None and not (isinstance(before, JobRecord) and set(before.sources) <= set(sources)):
        whose = ", ".join(before.sources[:3]) if isinstance(before, JobRecord) else f"job {before.job}"
        raise UsageError(f"{path} holds the results of other sources ({whose}): choose another folder, or remove it")


def _enter(folder: Folder, record: JobRecord, *, replace: bool) -> None:
    """Write whose results these are before the first mask comes."""
    before = owner(folder.root)
    if before is None or before.job != record.job:
        if replace and before:
            set_masks_aside(folder)
            folder.remove(ACCOUNT)
        elif before:
            raise UsageError(
                f"{folder.root} holds the results of job {before.job}: choose another folder for those of {record.job}"
            )
    folder.write(JOB, record.model_dump_json(indent=2, exclude_none=True).encode() + b"\n")


def _copy_masks(masks: Iterable[Copied], job: Job, folder: Folder) -> Mirrored:
    result, of_model = Mirrored(), read_classes(job.store, job.id)
    classes = dict(of_model.id2label) if of_model else {}
    with ExitStack() as stack:
        metadata, missing = (stack.enter_context(folder.growing(name)) for name in (METADATA, NOT_COPIED))
        lines = TypedLines(metadata)
        for each in masks:
            if each.problem:
                missing.write(json.dumps(each.problem.model_dump(), ensure_ascii=False).encode() + b"\n")
                result.not_copied += 1
                result.problems += [each.problem][: PROBLEMS_KEPT - len(result.problems)]
            else:
                lines.add(each.row, shows_types=bool(each.labels))
                classes |= each.labels
                result.there += each.was_there
                result.copied += not each.was_there
        lines.end()
    if not result.not_copied:
        folder.remove([NOT_COPIED])
    folder.write(CLASSES, _classes_json(classes))
    return result


def _copied(
    job: Job, record: JobRecord, folder: Folder, processes: int | None, on_progress: OnProgress
) -> Iterator[Copied]:
    manifest = job.manifest()
    masks = manifest.counts.stored + manifest.counts.reused if manifest else record.images
    wanted = processes or (min(usable_cores(), PROCESSES) if masks > FEW_IMAGES else 1)
    if wanted == 1:
        make: Callable[[], Copier] = partial(Copier, job.store, job.id, current_round(job.store, job.id), folder)
    else:
        make = partial(Copier.of, job.services.settings, job.out, job.id, folder.root, folder.masks)
    shards, block = job.booked(), max(1, BLOCK_IMAGES * record.shards // max(1, record.images))
    done = 0
    with Pool(make, wanted) as pool:
        for found in pool.map(Copier.copy, batched(shards, block)):
            yield from found
            done += len(found)
            on_progress(done, masks)


def _classes_json(classes: Mapping[int, str]) -> bytes:
    """The model's classes, as its `config.json` names them, and their colours in all pictures.

    `{"id2label": {"3": "cat"}, "colours": {"cat": "#0077ff"}}`
    """
    found = {str(label_id): classes[label_id] for label_id in sorted(classes)}
    colours = {title: in_hex(colour_of(title)) for title in found.values()}
    return json.dumps({"id2label": found, "colours": colours}, ensure_ascii=False, indent=2).encode() + b"\n"


def _write_failures(job: Job, folder: Folder) -> None:
    with folder.growing(FAILURES) as file:
        for outcome in job.failures():
            file.write(FailureRow.of(outcome).to_line())
