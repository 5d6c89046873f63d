"""Copies the masks of some shards into a folder, in one process or several: what became of each, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from maskmill.dataset.images import OF_ONE_MASK
from maskmill.errors import MaskmillError
from maskmill.jobs.records import current_round, read_metadata
from maskmill.machine import ONE_NAME
from maskmill.masks.segment_map import read_header
from maskmill.masks.stored import check_mask_of
from maskmill.schema import ImageProblem, MaskRow, Outcome
from maskmill.settings import Settings
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store
from maskmill_producer.local.folder import Folder, Unplaceable

THREADS = 16
"""Masks that a process fetches at once. Beside a store 8 are as fast; 100 ms away 16 are 1.6 to 1.9 times as fast."""

OF_ONE_COPY = (*OF_ONE_MASK, Unplaceable)
"""Errors that cost one mask; any other ends the copying, which can be gone on with."""


@dataclass(frozen=True)
class Copied:
    """What became of one mask: its row in the metadata with the labels that it names, or what is wrong."""

    row: bytes = b""
    labels: dict[int, str] = field(default_factory=dict)
    was_there: bool = False
    problem: ImageProblem | None = None


@dataclass(frozen=True)
class Copier:
    """What a process needs to copy masks of a job into a folder that another one holds the lock of."""

    store: Store
    job: str
    last_round: int
    folder: Folder

    @classmethod
    def of(cls, settings: Settings, out: str, job: str, root: Path, masks: Path) -> Copier:
        """With a store of its own, for a process of its own."""
        store = Store(out, settings.s3, connections=THREADS)
        return cls(store, job, current_round(store, job), Folder(root, masks))

    def copy(self, shards: Iterable[int]) -> Sequence[Copied]:
        """Fetch the masks of these shards that are not there, and place them."""
        outcomes = chain.from_iterable(read_metadata(self.store, self.job, each, self.last_round) for each in shards)
        return list(map_ahead(self._copy, outcomes, THREADS))

    def _copy(self, outcome: Outcome) -> Copied:
        try:
            was_there = self._place(outcome)
        except OF_ONE_COPY as error:
            return _failed(outcome, error)
        except OSError as error:
            if error.errno not in ONE_NAME:
                raise
            return _failed(outcome, Unplaceable(f"{outcome.mask_key} cannot be written: {error.strerror}"))
        row = MaskRow.of(outcome, self.folder.name_of(outcome.mask_key or ""))
        return Copied(row.to_line(), {each.label_id: each.title for each in outcome.segments or ()}, was_there)

    def _place(self, outcome: Outcome) -> bool:
        """Whether it was there."""
        key = outcome.mask_key or ""
        if self.folder.holds(key, outcome):
            return True
        png = self.store.get(key)
        check_mask_of(read_header(png), outcome)
        self.folder.put_mask(key, png, outcome)
        return False


def _failed(outcome: Outcome, error: MaskmillError) -> Copied:
    return Copied(problem=ImageProblem.of(outcome.uri, error))
