"""Predictions for Label Studio: brush masks to correct, in files of at most 1,000 tasks, and a labelling interface.

Where Label Studio finds an image: at its own `http(s)://` or `s3://` address, else below the root of its local files,
or where `--image-root` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from maskmill.colours import colour_of, in_hex
from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.account import ExportPlan
from maskmill.export.brush import brush_rle
from maskmill.export.format import Format, as_json, check_pixels, write
from maskmill.export.parts import Part, Parts
from maskmill.export.split import in_files
from maskmill.export.target import Target
from maskmill.masks.rle import run_lengths
from maskmill.schema import Segment

TASKS = "tasks"
TASKS_IN_FILE = 1000
MAX_BYTES = 100_000_000
"""Of one file: Label Studio refuses imports of more than 200 to 250 MB (label-studio#9103, #4987)."""

LOCAL_FILES = "/data/local-files/?d="
REMOTE = ("http://", "https://", "s3://", "gs://")


class LabelStudio(Format):
    """`tasks-00000.json`…, and `label_config.xml`, which has the very labels of the tasks."""

    takes = frozenset({"copy_images", "image_root", "images_per_file"})

    def __init__(self, plan: ExportPlan) -> None:
        super().__init__(plan)
        self._labels = xml_labels(list(self.category))

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """A task with one prediction."""
        runs = run_lengths(image.ids.T)
        check_pixels(image, runs)
        regions = [self._region(image, segment, brush_rle(runs[segment.id].tolist())) for segment in image.segments]
        prediction: dict[str, Any] = {"model_version": _model_version(image), "result": regions}
        if scores := [segment.score for segment in image.segments if segment.score is not None]:
            prediction["score"] = min(scores)
        task = {"data": {"image": self._address(image, copy), "name": image.name}, "predictions": [prediction]}
        self.put_copy(image, copy, "images", part)
        part.notes["labels_changed"] += sum(self._labels[each.title] != each.title for each in image.segments)
        part.line(TASKS, as_json(task))

    def _region(self, image: LabelledImage, segment: Segment, rle: list[int]) -> dict[str, Any]:
        region: dict[str, Any] = {
            "id": f"s{segment.id}",
            "type": "brushlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": rle, "brushlabels": [self._labels[segment.title]]},
        }
        return region if segment.score is None else region | {"score": segment.score}

    def _address(self, image: LabelledImage, copy: Copy | None) -> str:
        """Where a browser finds the image; keys of S3 are never percent-encoded, as Label Studio reads them."""
        root = self.options.image_root
        if not copy and root is None and image.uri.startswith(REMOTE):
            return str(image.uri)
        name = f"images/{self.file_name(image, copy)}" if copy else image.name
        if root is None:
            return LOCAL_FILES + quote(name)
        return f"{root.rstrip('/')}/{name if root.startswith(('s3://', 'gs://')) else quote(name)}"

    def finish(self, parts: Parts, target: Target) -> None:
        """The tasks in files that can be imported, and the interface."""
        files = in_files(parts.lines(TASKS), self.options.images_per_file or TASKS_IN_FILE, MAX_BYTES)
        for number, some in enumerate(files):
            write(target, f"tasks-{number:05d}.json", _json_list(some))
        target.put("label_config.xml", label_config(self._labels.values()).encode())


def _json_list(lines: Iterator[bytes]) -> Iterator[bytes]:
    yield b"["
    for number, line in enumerate(lines):
        yield (b",\n" if number else b"\n") + line.rstrip(b"\n")
    yield b"\n]\n"


def _model_version(image: LabelledImage) -> str:
    """The model, and what tells its revision and thresholds: `facebook/detr-resnet-50-panoptic 1f0c2a9b`."""
    return f"{image.source.record.spec.model} {(image.outcome.fingerprint or '')[:8]}".strip()


def label_config(labels: Iterable[str]) -> str:
    """A labelling interface with a brush for each label, in the colours of all pictures."""
    lines = [f"    <Label value={quoteattr(each)} background={quoteattr(in_hex(colour_of(each)))}/>" for each in labels]
    return "\n".join((
        "<View>",
        '  <Image name="image" value="$image" zoom="true"/>',
        '  <BrushLabels name="label" toName="image">',
        *lines,
        "  </BrushLabels>",
        "</View>\n",
    ))  # fmt: skip


def xml_labels(names: list[str]) -> dict[str, str]:
    """Each name as XML can say it, and as no other one is said: `{"$cat": "_$cat", "cat": "cat"}`."""
    said: dict[str, str] = {}
    taken = {name for name in names if _in_xml(name) == name}
    for name in names:
        label = base = _in_xml(name)
        number = 2
        while label != name and label in taken:
            label, number = f"{base} ({number})", number + 1
        taken.add(label)
        said[name] = label
    return said


def _in_xml(name: str) -> str:
    """The name without what XML 1.0 has no place for (2.2), and without what Label Studio makes other of it.

    A value that begins with `$` is a column of the task there, one that is empty no label, and spaces at its ends,
    tabs and line breaks do not survive all readers of attributes (XML 1.0, 3.3.3).
    """
    text = "".join(each if _is_char(each) else "\ufffd" for each in " ".join(name.split()))
    return f"_{text}" if text.startswith("$") else text or "(empty)"


def _is_char(each: str) -> bool:
    return each >= " " and not "\ud800" <= each <= "\udfff" and each not in "\ufffe\uffff"


FORMAT = LabelStudio
