"""A worker without models."""

from __future__ import annotations

from maskmill.errors import ModelUnavailable
from maskmill.schema import ModelIdentity, Spec
from maskmill_worker.model.models import Models
from maskmill_worker.model.segmenter import Segmenter


class NoModels(Models):
    """Remembers which models were asked for, and has none."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.asked: list[str] = []

    def get(self, spec: Spec, known: ModelIdentity | None = None) -> Segmenter:
        self.asked.append(spec.model)
        raise ModelUnavailable(f"'{spec.model}' cannot be loaded")
