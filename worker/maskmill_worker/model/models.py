"""The model in use, loaded once per process, with the fastest ways that give its own results (`model/fastest.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from transformers.utils import logging as transformers_logging

from maskmill.errors import ModelChanged, ModelUnavailable
from maskmill.models.files import require_allowed
from maskmill.schema import LOADED, ModelIdentity, Spec, Subtask
from maskmill_worker.model.checkpoint import Checkpoint
from maskmill_worker.model.fastest import forward_of, runs_side_by_side, tried_postprocess
from maskmill_worker.model.forward import Forward
from maskmill_worker.model.own_pipeline import OwnSegmenter
from maskmill_worker.model.postprocess import PostProcess, StockPostProcess
from maskmill_worker.model.refusals import errors_of
from maskmill_worker.model.segmenter import AtATime, Segmenter, SegmentMapPipeline, TransformersSegmenter, subtask_of

log = structlog.get_logger(__name__)


class Models:
    """The model in use: loaded once per process and kept while jobs ask for the same one.

    `allowed` bounds what jobs may ask for (None: nothing does); `trusted` models may run code of their own.
    """

    def __init__(
        self,
        device: str,
        *,
        compiled: bool = False,
        allowed: Sequence[str] | None = None,
        trusted: Sequence[str] = (),
    ) -> None:
        self.device = device
        self.compiled = compiled
        self.allowed = allowed
        self.trusted = trusted
        self._model: _Loaded | None = None

    def get(self, spec: Spec, known: ModelIdentity | None = None) -> Segmenter:
        """A segmenter for the spec, warmed up when its model is new; made of the files `known` if that is given.

        Raises `ModelUnavailable`, and `DeviceLost` when the device is to blame.

        Weights come from safetensors, or from a pickle read by torch's weights-only loader, which executes nothing.
        """
        asked = spec.model_dump(include=LOADED)
        require_allowed(spec, self.allowed)
        if not (self._model and known and self._model.is_of(asked, known)):
            self._load(spec, asked, known)
        assert self._model is not None  # noqa: S101 - for mypy
        with errors_of(spec.model):
            return self._model.segmenter(spec)

    def _load(self, spec: Spec, asked: dict[str, object], known: ModelIdentity | None) -> None:
        """Load the model unless it is the one in use, by its files."""
        checkpoint = Checkpoint.find(spec, known)
        identity = checkpoint.identity()
        if known and identity != known:
            raise ModelChanged(f"the files of '{spec.model}' are not those that the job began with: submit a new job")
        if self._model and self._model.is_of(asked, identity):
            return
        self._model = None  # the old weights go before the new ones come
        log.info("model_loading", model=spec.model, files=identity.files, device=self.device, dtype=spec.dtype.value)
        transformers_logging.disable_progress_bar()
        with errors_of(spec.model):
            loaded = _Loaded(asked, identity, checkpoint.load(spec, self.device, self.trusted), self.compiled)
        if checkpoint.identity() != identity:
            raise ModelUnavailable(f"the files of '{spec.model}' changed while they were loaded")
        self._model = loaded


class _Loaded:
    """A model in memory, and how each subtask that was asked for is post-processed."""

    def __init__(self, asked: dict[str, Any], identity: ModelIdentity, pipeline: Any, compiled: bool) -> None:
        self.asked, self.identity, self.pipeline = asked, identity, pipeline
        self.is_stock = isinstance(pipeline, SegmentMapPipeline)
        self._post_processes: dict[Subtask, PostProcess] = {}
        if self.is_stock:
            self._forward: Forward = forward_of(pipeline, compiled=compiled)
            side_by_side = runs_side_by_side(pipeline) and not compiled
            self._at_a_time = AtATime.ANY if side_by_side else AtATime.PASS
            if compiled:
                self._forward.compile()

    def is_of(self, asked: dict[str, Any], identity: ModelIdentity) -> bool:
        """Whether it is what was asked for, made of these files."""
        return (self.asked, self.identity) == (asked, identity)

    def segmenter(self, spec: Spec) -> Segmenter:
        """A segmenter for the spec; the first one for a subtask tries the model out."""
        if not self.is_stock:
            return OwnSegmenter(self.pipeline, spec, self.identity)
        subtask = subtask_of(self.pipeline.image_processor, spec.subtask)
        if subtask not in self._post_processes:
            stock = StockPostProcess(self.pipeline.image_processor, subtask)
            self._post_processes[subtask] = tried_postprocess(self._with(stock, spec))
        return self._with(self._post_processes[subtask], spec)

    def _with(self, post_process: PostProcess, spec: Spec) -> TransformersSegmenter:
        return TransformersSegmenter(self.pipeline, self._forward, post_process, spec, self.identity, self._at_a_time)
