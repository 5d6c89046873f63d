"""The categories of a dataset: one for each name, with an id, and whether it is a thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from maskmill.dataset.selection import Selection
from maskmill.dataset.things import things_among
from maskmill.schema import Record, Subtask
from maskmill.schema.record import Count


class Category(Record):
    """One class. `index` counts from 0 without gaps; `id` is what a dataset's files say, from 1 unless labels' ids do.

    Readers take an id of 0 for 'no label' (Datumaro, and so CVAT).
    """

    id: Count
    index: Count
    name: str
    thing: bool


@dataclass(frozen=True)
class Classes:
    """All categories in the order of the model's labels; `told_by` says what told things from stuff."""

    categories: tuple[Category, ...]
    told_by: str

    @property
    def by_name(self) -> Mapping[str, Category]:
        """The categories by their names."""
        return {each.name: each for each in self.categories}

    @classmethod
    def of(cls, labels: Mapping[int, str], selection: Selection, subtask: Subtask | None) -> Classes:
        """The categories of a model's labels as far as they are selected: `{0: "cat", 3: "dog"}` are 1 and 2.

        Labels that have one name, or get one, are one category. Ids are places from 1, or with
        `category_ids="label"` the first label's own.
        """
        named = {label_id: selection.name_of(labels[label_id]) for label_id in sorted(labels)}
        first: dict[str, int] = {}
        for label_id, name in named.items():
            if name is not None:
                first.setdefault(name, label_id)
        titles = (title for label_id, title in labels.items() if named[label_id] is not None)
        things = things_among(titles, subtask, of_model=labels.values())
        is_thing, told_by = _with_own_words(labels, named, things.by_name, things.told_by, selection)
        by_label = selection.category_ids == "label"
        return cls(
            tuple(
                Category(id=label_id if by_label else index + 1, index=index, name=name, thing=is_thing[name])
                for index, (name, label_id) in enumerate(first.items())
            ),
            told_by,
        )


def _with_own_words(
    labels: Mapping[int, str],
    named: Mapping[int, str | None],
    by_title: Mapping[str, bool],
    told_by: str,
    selection: Selection,
) -> tuple[dict[str, bool], str]:
    """What the user said of things and stuff counts first."""
    is_thing: dict[str, bool] = {}
    for label_id, name in named.items():
        if name is not None:
            is_thing[name] = is_thing.get(name, False) or by_title[labels[label_id]]
    own = {each.name: each.thing for each in selection.renamed.values() if each.name and each.thing is not None}
    own |= dict.fromkeys(selection.things, True) | dict.fromkeys(selection.stuff, False)
    return is_thing | {name: said for name, said in own.items() if name in is_thing}, _told(own, is_thing, told_by)


def _told(own: Iterable[str], names: Iterable[str], told_by: str) -> str:
    if not set(own) & set(names):
        return told_by
    return "your words" if set(names) <= set(own) else f"your words, and {told_by}"
