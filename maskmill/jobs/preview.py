"""What a job would be, if it were submitted: counted from its sources alone. Nothing is started, sent or changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from maskmill.images import sources
from maskmill.jobs.submit import check_account, intake_of, reach_of, runs
from maskmill.schema import Reference
from maskmill.settings import Settings

EXAMPLES = 3


@dataclass(frozen=True)
class Preview:
    """`found` entries of the sources are `images` and those `left_out`, by reason, with an example of each.

    `masks` are the keys of the first few masks, by the addresses of their images.
    """

    found: int
    images: int
    shards: int
    left_out: dict[str, int] = field(default_factory=dict)
    left_out_examples: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)


def preview(
    settings: Settings,
    source_names: Sequence[str],
    *,
    out: str | None = None,
    column: str | None = None,
    root: str | None = None,
    all_files: bool = False,
    strict: bool = False,
    anonymous: bool = False,
    stdin: TextIO | None = None,
    exclude: str | None = None,
    limit: int | None = None,
) -> Preview:
    """Read the sources as `submit` does, and count; raises what that would raise of them.

    `preview(settings, ["photos/"], limit=100).images` is 100, or fewer.
    """
    for name in source_names:
        sources.check(name)
    reach = reach_of(settings, anonymous=anonymous)
    entries = sources.expand(source_names, reach=reach, column=column, all_files=all_files, stdin=stdin)
    intake = intake_of(out, root, exclude, may_repeat=not sources.never_repeats(source_names))
    shards, masks = 0, dict[str, str]()
    for run in runs(intake.lines, entries, settings.shard_size, limit):
        shards += 1
        examples = [Reference.from_json(line.encode()) for line in run[: EXAMPLES - len(masks)]]
        masks |= {str(each.uri): each.mask_key for each in examples}
    check_account(intake, strict=strict)
    left_out, submitted = dict(intake.left_out), intake.submitted
    return Preview(submitted + intake.left_out.total(), submitted, shards, left_out, intake.examples, masks)
