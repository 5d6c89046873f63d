"""The model in use, loaded once per process."""

from __future__ import annotations

from typing import Any

import structlog
from transformers import pipeline
from transformers.utils import logging as transformers_logging

from maskmill.errors import ModelUnavailable, one_line
from maskmill.schema import Spec
from worker.model_files import check_reachable, resolve
from worker.segmenter import Segmenter, SegmentMapPipeline

log = structlog.get_logger(__name__)


class Models:
    """The model in use: loaded once per process and kept while jobs ask for the same one."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._key: tuple[object, ...] | None = None
        self._pipeline: SegmentMapPipeline | None = None

    def get(self, spec: Spec) -> Segmenter:
        """A segmenter for the spec, warmed up when its model is new; raises `ModelUnavailable`."""
        key = (spec.model, spec.revision, spec.image_processor, spec.dtype)
        try:
            if key != self._key or self._pipeline is None:
                self._pipeline, self._key = None, None  # the old weights go before the new ones come
                self._pipeline = self._load(spec)
                Segmenter(self._pipeline, spec).warm_up()
                self._key = key
            return Segmenter(self._pipeline, spec)
        except ModelUnavailable:
            raise
        except Exception as error:
            raise ModelUnavailable(f"'{spec.model}' cannot be loaded: {one_line(error)}") from error

    def _load(self, spec: Spec) -> SegmentMapPipeline:
        transformers_logging.disable_progress_bar()
        check_reachable(spec.model, spec.revision)
        log.info("model_loading", model=spec.model, device=self.device, dtype=spec.dtype.value)
        options: dict[str, Any] = {"revision": spec.revision} if spec.revision else {}
        if spec.image_processor:
            options["image_processor"] = resolve(spec.image_processor)
        loaded: SegmentMapPipeline = pipeline(
            "image-segmentation",
            model=resolve(spec.model),
            dtype=spec.dtype.value,
            device=self.device,
            pipeline_class=SegmentMapPipeline,
            **options,
        )
        loaded.model.eval()
        return loaded
