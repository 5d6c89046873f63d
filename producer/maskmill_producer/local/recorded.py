"""What a folder of results says of its job, without a server: `maskmill status DIR`, `failures DIR`, `export DIR`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from maskmill.dataset.in_processes import OnProgress
from maskmill.dataset.source import SourceMaker
from maskmill.errors import JobNotFound, UsageError
from maskmill.export.account import ExportAccount
from maskmill.export.options import FormatName, parse_options
from maskmill.schema import JobRecord, JobStatus, Manifest, Outcome, outcome_in
from maskmill.settings import load_settings
from maskmill.storage import keys
from maskmill_producer.local.folder import FAILURES, MANIFEST, owner, reading


@dataclass(frozen=True)
class Recorded:
    """A folder that `maskmill run` or `results --download` has written."""

    path: Path

    @classmethod
    def named(cls, job: str) -> Recorded | None:
        """The folder of this name, None for a job's id: `20261122-205301-9f86d081` is a job, `./2026…` a folder.

        Raises `JobNotFound` for what is neither.
        """
        if keys.JOB_ID.fullmatch(job):
            return None
        if not os.path.isdir(job):  # noqa: PTH112 - False for any text
            raise JobNotFound(f"'{job}' is neither a job's id nor a folder: `maskmill status` lists the jobs")
        return cls(Path(job))

    def status(self) -> JobStatus:
        """Where the job stood when its results were written; raises as `manifest` does."""
        record = owner(self.path)
        shards = record.shards if isinstance(record, JobRecord) else 0
        return JobStatus.at_the_end(self.manifest(), str(self.path), shards)

    def manifest(self) -> Manifest:
        """The closing account; raises `UsageError` for a folder without results."""
        record = owner(self.path)
        try:
            with reading(self.path / MANIFEST):
                return Manifest.from_json((self.path / MANIFEST).read_bytes())
        except FileNotFoundError:
            if not isinstance(record, JobRecord):
                raise UsageError(
                    f"{self.path} has no results of Maskmill: name the --out of a run, or the id of a job"
                ) from None
            raise UsageError(
                f"the results in {self.path} are not complete: run the same command again, or see "
                f"`maskmill status {record.job}`"
            ) from None

    def export(
        self,
        form: FormatName | str,
        out: str | PathLike[str],
        *,
        processes: int | None = None,
        on_progress: OnProgress = lambda _done, _all: None,
        **options: Any,
    ) -> ExportAccount:
        """The results in another format, as `maskmill.job.Job.export` writes it; raises as that does."""
        from maskmill.export.export import export

        asked = parse_options(form, options)
        return export(self.maker(), load_settings(), asked, fspath(out), processes=processes, on_progress=on_progress)

    def maker(self) -> SourceMaker:
        """What opens the folder as a dataset's source, also in another process; raises as `manifest` does."""
        from maskmill_producer.local.folder_source import FolderSource

        return FolderSource.open(load_settings(), self.path).again

    def failures(self, codes: Sequence[str] | None = None) -> Iterator[Outcome]:
        """The images that failed (with one of these codes); raises `UsageError` for a folder without results."""
        owner(self.path)
        try:
            with reading(self.path / FAILURES), (self.path / FAILURES).open("rb") as lines:
                for line in lines:
                    outcome = outcome_in(line)
                    if codes is None or outcome.code in codes:
                        yield outcome
        except FileNotFoundError:
            self.status()
            raise UsageError(f"{self.path / FAILURES} is gone: run the same command again") from None
