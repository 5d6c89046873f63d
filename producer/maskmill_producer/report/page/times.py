"""Images a second as a job went on, and where its time went: by stage, and what the model's was spent on."""

from __future__ import annotations

from array import array
from collections import Counter
from datetime import datetime
from typing import Any

import numpy as np

from maskmill.schema import DeviceSeconds, Outcome, ShardReport

BARS = 60
STAGES = ("fetch", "decode", "preprocess", "forward", "postprocess", "encode", "upload")


class Times:
    """Filled report by report; keeps three numbers of each."""

    def __init__(self) -> None:
        self._begun, self._ended, self._images = array("d"), array("d"), array("d")
        self._workers = set[str]()
        self._device = Counter[str]()
        self._stages, self._timed = Counter[str](), 0

    def add_report(self, report: ShardReport) -> None:
        """Count a shard: its images came from its worker's commit before to its own."""
        ended = report.finished.timestamp()
        self._ended.append(ended)
        self._begun.append(ended - (report.device.total if report.device else 0.0))
        self._images.append(len(report.outcomes))
        self._workers.add(report.worker)
        if report.device:
            self._device.update(report.device.model_dump())

    def add_image(self, outcome: Outcome) -> None:
        """Count the seconds of an image's stages."""
        if outcome.seconds:
            self._timed += 1
            self._stages.update(outcome.seconds)

    def for_page(self, created: datetime) -> dict[str, Any]:
        """Seconds are wall seconds; `stages` those of one image; `device` as `DeviceSeconds`."""
        return {
            "rate": self._rate(created.timestamp()),
            "workers": len(self._workers),
            "stages": [[name, self._stages[name] / self._timed] for name in STAGES if self._stages[name] > 0],
            "timed": self._timed,
            "device": {name: self._device[name] for name in DeviceSeconds.model_fields} if self._device else None,
        }

    def _rate(self, created: float) -> dict[str, Any] | None:
        """Images a second in bars of equal length, from the submission to the last commit."""
        if not self._ended:
            return None
        begun, ended, images = (np.asarray(each) for each in (self._begun, self._ended, self._images))
        last = max(float(ended.max()), created + 1e-3)
        edges = np.linspace(created, last, BARS + 1)
        lasted = np.maximum(ended - begun, 1e-3)
        done = [float((images * np.clip((edge - ended + lasted) / lasted, 0, 1)).sum()) for edge in edges]
        width = (last - created) / BARS
        bars = np.maximum(np.diff(np.array([0.0, *done[1:]])), 0) / width
        return {"from": created, "to": last, "bars": [round(float(each), 4) for each in bars], "shards": len(images)}
