"""An export from beginning to end: survey, a share a shard in processes, the whole, the account."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from maskmill.addresses import on_one_line
from maskmill.cores import usable_cores
from maskmill.dataset.images import OF_ONE_IMAGE, Dataset, LabelledImage, ShardPlace, ahead
from maskmill.dataset.in_processes import OnProgress, Pool
from maskmill.dataset.originals import Copy, Originals
from maskmill.dataset.source import SourceMaker
from maskmill.dataset.survey import Survey
from maskmill.errors import InvalidRecord, MaskmillError, UsageError
from maskmill.export.account import ACCOUNT, NOT_EXPORTED, ExportAccount, ExportPlan
from maskmill.export.format import Format, check_options, format_of, write
from maskmill.export.options import ExportOptions
from maskmill.export.parts import Part, PartCounts, Parts, total
from maskmill.export.target import Target, Unwritable, target_of
from maskmill.locks import held_lock
from maskmill.machine import writing_to
from maskmill.schema import PROBLEMS_KEPT, ImageProblem
from maskmill.settings import Settings

PLAN = "plan.json"
GOES_ON = "; the same command goes on once that is mended"


def export(
    make: SourceMaker,
    settings: Settings,
    options: ExportOptions,
    out: str,
    *,
    processes: int | None = None,
    on_progress: OnProgress = lambda _done, _all: None,
) -> ExportAccount:
    """Write the results of the job that `make` opens to `out`, in a format.

    Raises `UsageError` for a target that holds something else, an option that means nothing to the format, a label that
    there is not, a disk that is full, and a job that has not ended. Interrupted, the same call goes on.
    An image whose mask cannot be had costs itself alone: it is counted and named in `not-exported.jsonl`.
    """
    check_options(options)
    target, dataset = target_of(out, settings), Dataset(make(), options.selection)
    _check_place(target)
    wanted = processes or min(usable_cores(), dataset.source.shards)
    with writing_to(target, GOES_ON), Pool(Dataset.opener(make, options.selection), wanted) as pool:
        survey = Survey.of(dataset, pool)
        plan = ExportPlan(
            job=dataset.source.record.job,
            retry_round=dataset.source.retry_round,
            contents=dataset.source.contents,
            options=options,
            categories=survey.classes.categories,
            things_told_by=survey.classes.told_by,
        )
        with _begun(target, plan):
            if (done := _finished(target, plan)) and not done.not_exported:
                on_progress(survey.images, survey.images)
                return done
            counts = _export_shards(pool, survey, plan, partial(target_of, out, settings), target, on_progress)
            return _finish(target, plan, survey, counts, dataset.source.shards)


def _check_place(target: Target) -> None:
    """Raise `UsageError` for a place that holds something else, before any work."""
    ours = target.work.exists() or target.read(ACCOUNT) is not None
    if not ours and (name := target.foreign()):
        raise UsageError(f"{target} is not empty (there is '{on_one_line(name)}'): choose another --out")


@contextmanager
def _begun(target: Target, plan: ExportPlan) -> Iterator[None]:
    """The target, with this plan's work in it and nobody else at it; the work is removed when all is done."""
    _finished(target, plan)
    target.work.mkdir(parents=True, exist_ok=True)
    busy = f"another maskmill is exporting to {target}: wait for it, or choose another --out"
    with held_lock(target.work, busy):
        begun = target.work / PLAN
        if begun.exists() and begun.read_bytes() != plan.to_json():
            raise UsageError(f"{target} holds another export that was not finished: choose another --out, or remove it")
        begun.write_bytes(plan.to_json())
        yield
        shutil.rmtree(target.work, ignore_errors=True)


def _finished(target: Target, plan: ExportPlan) -> ExportAccount | None:
    """The account of this very export, if it is there; raises `UsageError` for another one's."""
    found = target.read(ACCOUNT)
    if found is None:
        return None
    account = None
    with suppress(InvalidRecord):
        account = ExportAccount.from_json(found)
    if account is None or account.plan != plan:
        raise UsageError(f"{target} holds another export ({ACCOUNT}): choose another --out")
    return account


def _export_shards(
    pool: Pool[Dataset],
    survey: Survey,
    plan: ExportPlan,
    target_for: Callable[[], Target],
    target: Target,
    on_progress: OnProgress,
) -> list[PartCounts]:
    parts = Parts(target.work, len(survey.places))
    known = {place.shard: parts.counts(place.shard) for place in survey.places}
    left = (place for place in survey.places if known[place.shard] is None)
    made = pool.map(partial(_export_shard, plan, target_for), left)
    counts: list[PartCounts] = []
    done = 0
    for place in survey.places:
        counts.append(known[place.shard] or next(made))
        done += counts[-1].images + len(counts[-1].problems)
        on_progress(done, survey.images)
    return counts


def _export_shard(
    plan: ExportPlan, target_for: Callable[[], Target], dataset: Dataset, place: ShardPlace
) -> PartCounts:
    """One shard's share, in one of the processes."""
    form = format_of(plan)
    of_images = plan.options.copy_images or form.reads_images
    read = partial(_read, form, dataset.originals if of_images else None)
    with Part(place.shard, target_for()) as part:
        form.begin(place.first_segment)
        for image, found in ahead(dataset.images_at(replace(place, whole_addresses=of_images)), read):
            error = found if isinstance(found, MaskmillError) else _add(form, image, part, found)
            if error:
                part.problems.append(ImageProblem.of(image.uri, error))
                continue
            part.notes["names_changed"] += dataset.renames(image)
            part.notes["stems_changed"] += form.by_stem and image.number in place.stems
        form.end(part)
    return part.counts()


def _read(form: Format, originals: Originals | None, image: LabelledImage) -> Copy | None:
    """Fetch the mask, and with it the image if it is wanted, in a thread.

    The mask is decoded by who goes through it: threads that compute fight for Python's lock and each other's caches.
    """
    _ = image.png
    return form.read(image, originals.read(image.whole_address, image.mask)) if originals else None


def _add(form: Format, image: LabelledImage, part: Part, copy: Copy | None) -> MaskmillError | None:
    try:
        _ = image.ids  # raises before anything is written
        form.add(image, copy, part)
    except (Unwritable, *OF_ONE_IMAGE) as error:
        return error
    part.images += 1
    part.segments += len(image.segments)
    return None


def _finish(target: Target, plan: ExportPlan, survey: Survey, counts: list[PartCounts], shards: int) -> ExportAccount:
    sums = total(counts)
    format_of(plan).finish(Parts(target.work, shards), target)
    account = ExportAccount(
        plan=plan,
        images=sums.images,
        segments=sums.segments,
        not_exported=len(sums.problems),
        repeated=survey.repeated,
        without_mask=dict(sorted(survey.not_masked.items())),
        segments_left_out=dict(sorted(survey.left_out.items())),
        notes=sums.notes,
        problems=sums.problems[:PROBLEMS_KEPT],
    )
    if sums.problems:
        write(target, NOT_EXPORTED, (problem.to_json() + b"\n" for problem in sums.problems))
    else:
        target.remove(NOT_EXPORTED)
    target.put(ACCOUNT, account.model_dump_json(indent=2, exclude_none=True).encode() + b"\n")
    return account
