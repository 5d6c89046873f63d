"""Which image ended a worker process: noted in the ledger before each batch, so that the next owner can tell.

A process that dies leaves the images that it had in the model. Each of them then goes alone; one that ends two more
processes alone is convicted. So an image costs at most three crashes, whatever is killed beside it, and its shard-mates
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from maskmill.errors import InvalidRecord
from maskmill.schema import Count, Record

CRASHES_ALONE = 2
"""An image may be alone in a process that somebody else killed; twice is no accident."""


class Suspects(Record):
    """What is known of one shard's images, by their index in it.

    `alone` counts for each suspect the processes that ended while it was alone in the model; `in_hand` are those in
    the model now, and a `bystander` is a shard whose owner has another one's images there. `excused` are the attempts
    at the shard that do not count, because this explains them or a server was to blame.
    """

    alone: dict[int, Count] = Field(default_factory=dict)
    convicted: tuple[Count, ...] = ()
    in_hand: tuple[Count, ...] = ()
    bystander: bool = False
    excused: Count = 0

    @classmethod
    def from_note(cls, note: str) -> Self:
        """What the shard's last owner noted; nothing, if that cannot be read."""
        try:
            return cls.from_json(note) if note else cls()
        except InvalidRecord:
            return cls()

    def note(self) -> str:
        """For the ledger: empty when there is nothing to say."""
        return "" if self == type(self)() else self.to_json().decode()

    def after_crash(self) -> Self:
        """What follows if the owner that noted this is gone without a word."""
        if self.bystander:
            return self.at_rest(excused=True)
        if not self.in_hand:
            return self
        alone, convicted = dict(self.alone), self.convicted
        if len(self.in_hand) == 1:
            [index] = self.in_hand
            alone[index] = alone.get(index, 0) + 1
            if alone[index] >= CRASHES_ALONE:
                del alone[index]
                convicted = (*convicted, index)
        else:
            alone |= {index: alone.get(index, 0) for index in self.in_hand}
        return self.model_copy(
            update={"alone": alone, "convicted": convicted, "in_hand": (), "excused": self.excused + 1}
        )

    def holding(self, indices: Iterable[int]) -> Self:
        """With these in the model, or none while others are."""
        held = tuple(indices)
        return self.model_copy(update={"in_hand": held, "bystander": not held})

    def at_rest(self, *, excused: bool) -> Self:
        """With none in the model, because the attempt has ended; `excused`: it does not count."""
        return self.model_copy(update={"in_hand": (), "bystander": False, "excused": self.excused + excused})

    def passed(self) -> Self:
        """After what was in hand has come out of the model: no suspects any more."""
        alone = {index: crashes for index, crashes in self.alone.items() if index not in self.in_hand}
        return self.model_copy(update={"alone": alone, "in_hand": (), "bystander": False})
