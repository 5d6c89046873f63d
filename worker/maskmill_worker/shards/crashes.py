"""Crash attribution: which image ended a worker process, as noted in the ledger before it enters the model.

A process that dies leaves the images that it had in the model. Each of them then goes alone; one that ends two
processes while alone is to blame and has failed. So an image costs at most three crashes, and its shard-mates nothing.

The life of a note, where image 3 of 8 crashes the model:

    entering(0…7)  the process dies      the next owner: after_crash() → alone {0: 0, … 7: 0}
    entering(0)    0 comes out           passed() → 0 need not go alone any more
    entering(3)    the process dies      after_crash() → alone {3: 1, …}
    entering(3)    the process dies      after_crash() → crashing (3,): it has failed, 4…7 go on

Images that follow soon are noted with a batch, and stay so until one enters that is not, which saves a call for most
batches. So a process that dies blames images that were not in the model yet, or are out already, and they clear
themselves alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from maskmill.errors import InvalidRecord
from maskmill.schema import Count, Record

CRASHES_ALONE = 2
"""An image may be alone in a process that somebody else killed; twice is no accident."""


class CrashNote(Record):
    """What is known of one shard's images, by their index in it.

    `alone` has the images that must go alone, each with the number of processes that ended while it did; `crashing`
    are those that are to blame. `in_model` are in the model, or follow soon, or have just come out. `others_in_model`:
    images of the owner's other shards are, so that a crash may not be this shard's fault and its attempt is excused.

    >>> CrashNote(in_model=(3, 7)).after_crash()  # the process died with two images in the model
    CrashNote(alone={3: 0, 7: 0}, crashing=(), in_model=(), others_in_model=False)
    """

    alone: dict[int, Count] = Field(default_factory=dict)
    crashing: tuple[Count, ...] = ()
    in_model: tuple[Count, ...] = ()
    others_in_model: bool = False

    @classmethod
    def from_text(cls, note: str) -> Self:
        """What the shard's last owner noted; nothing, if that cannot be read."""
        try:
            return cls.from_json(note) if note else cls()
        except InvalidRecord:
            return cls()

    def text(self) -> str:
        """For the ledger: empty when there is nothing to say."""
        return "" if self == type(self)() else self.to_json().decode()

    @property
    def explains_crash(self) -> bool:
        """Whether it says what was in the model when its owner went without a word."""
        return bool(self.in_model) or self.others_in_model

    def after_crash(self) -> Self:
        """What follows if the owner that noted this is gone without a word."""
        alone, crashing = dict(self.alone), self.crashing
        if len(self.in_model) == 1 and not self.others_in_model:
            [index] = self.in_model
            alone[index] = alone.get(index, 0) + 1
            if alone[index] >= CRASHES_ALONE:
                del alone[index]
                crashing = (*crashing, index)
        else:
            alone |= {index: alone.get(index, 0) for index in self.in_model}
        return self.model_copy(update={"alone": alone, "crashing": crashing, "in_model": (), "others_in_model": False})

    def entering(self, indices: Iterable[int], *, with_others: bool = False) -> Self:
        """With these in the model, and with images of other shards or not."""
        return self.model_copy(update={"in_model": tuple(indices), "others_in_model": with_others})

    def at_rest(self) -> Self:
        """With none in the model, because the attempt has ended."""
        return self.model_copy(update={"in_model": (), "others_in_model": False})

    def passed(self) -> Self:
        """After what was in the model has come out of it: such images need not go alone any more."""
        alone = {index: crashes for index, crashes in self.alone.items() if index not in self.in_model}
        return self.model_copy(update={"alone": alone, "in_model": (), "others_in_model": False})
