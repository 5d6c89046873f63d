"""From the files of a checkpoint to the pipeline: configuration, image processor, weights, each checked by itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
from transformers.pipelines import PIPELINE_REGISTRY

from maskmill.access import code_trusted
from maskmill.errors import ModelUnusable
from maskmill.models.files import CONFIG, PROCESSOR_CONFIGS, ModelFiles, SpecFiles
from maskmill.schema import Spec
from maskmill_worker.model.own_pipeline import own_class
from maskmill_worker.model.refusals import check_kind, errors_of
from maskmill_worker.model.segmenter import SegmentMapPipeline, subtask_of
from maskmill_worker.model.weights import check_filled, check_numbers

TASK = "image-segmentation"
TOKENIZER_CONFIG = "tokenizer_config.json"

Loaded = TypeVar("Loaded")


class Checkpoint(SpecFiles):
    """The files of a spec, from which its pipeline is loaded."""

    def load(self, spec: Spec, device: str, trusted: Sequence[str]) -> Any:
        """The pipeline, made as the stock one is, or the model's own; raises `ModelUnusable` and others."""
        code = runs_code(self.model, (CONFIG, TOKENIZER_CONFIG), trusted)
        check_kind(self.model.name, self.model.read(CONFIG), runs_code=code)
        config = _cached_first(self.model, lambda files: _part(AutoConfig, files, code))
        if own := own_class(config, self.model.path, self.model.options, TASK) if code else None:
            return self._own_pipeline(own, config, spec, device, trusted)
        image_processor = self._image_processor(trusted)
        subtask_of(image_processor, spec.subtask)
        tokenizer = self._tokenizer(code) if type(config).__name__ == "OneFormerConfig" else None
        model = _cached_first(self.model, lambda files: _model(files, config, spec, code))
        return SegmentMapPipeline(
            model=model.eval(), image_processor=image_processor, tokenizer=tokenizer, device=device, task=TASK
        )

    def _own_pipeline(self, own: Any, config: Any, spec: Spec, device: str, trusted: Sequence[str]) -> Any:
        model = _cached_first(self.model, lambda files: _model(files, config, spec, code=True))
        parts = {"image_processor": self._image_processor(trusted)} if own._load_image_processor else {}  # noqa: SLF001
        return own(model=model.eval(), device=device, task=TASK, **parts)

    def _image_processor(self, trusted: Sequence[str]) -> Any:
        code = runs_code(self.processor, PROCESSOR_CONFIGS, trusted)
        with errors_of(self.processor.name):
            try:
                return _cached_first(self.processor, lambda files: _part(AutoImageProcessor, files, code))
            except OSError as error:
                if error.errno is None and not any(map(self.processor.has, PROCESSOR_CONFIGS)):
                    where = f"'{self.processor.name}' has no image processor ({PROCESSOR_CONFIGS[0]})"
                    raise ModelUnusable(f"{where}: name one with --image-processor") from error
                raise

    def _tokenizer(self, code: bool) -> Any:
        """OneFormer's, which reads the task's name; no other model has one."""
        try:
            return _cached_first(self.model, lambda files: _part(AutoTokenizer, files, code))
        except (OSError, ValueError, TypeError) as error:
            reason = f"'{self.model.name}' has no tokenizer (vocab.json, merges.txt), which OneFormer needs"
            raise ModelUnusable(reason) from error


def runs_code(files: ModelFiles, configurations: Sequence[str], trusted: Sequence[str]) -> bool:
    """Whether the files' own code may be run. Code that lies in another repository must be trusted there."""
    name = files.name if files.revision else os.path.realpath(files.path)
    if not code_trusted(name, files.asked, trusted):
        return False
    for each in filter(files.has, configurations):
        for other in _code_elsewhere(files.read(each)):
            if not code_trusted(other, None, trusted):
                raise ModelUnusable(f"'{files.name}' has its code in '{other}', which MASKMILL_TRUSTED_MODELS lacks")
    return True


def _code_elsewhere(configuration: Mapping[str, Any]) -> Iterator[str]:
    """The repositories in references such as `owner/name--module.Class`."""
    pipelines = configuration.get("custom_pipelines") or {}
    references = [*(configuration.get("auto_map") or {}).values(), *(each.get("impl") for each in pipelines.values())]
    for reference in references:
        for each in reference if isinstance(reference, list) else [reference]:
            if isinstance(each, str) and "--" in each:
                yield each.split("--")[0]


def _cached_first(files: ModelFiles, load: Callable[[ModelFiles], Loaded]) -> Loaded:
    """Load from the cache where the commit is there: without the network, and without waiting for it."""
    if files.cached:
        try:
            return load(files)
        except OSError:  # something is missing there
            files = replace(files, cached=False)
    return load(files)


def _part(auto: Any, files: ModelFiles, code: bool) -> Any:
    # None would ask on the terminal.
    return auto.from_pretrained(files.path, trust_remote_code=code, **files.options)


def _model(files: ModelFiles, config: Any, spec: Spec, code: bool) -> torch.nn.Module:
    """The weights in the class that the stock pipeline takes."""
    kind = _class_of(files, config)
    options = files.options if not _is_auto(kind) else {**files.options, "trust_remote_code": code}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # weights that are missing are the same in each process
        model, loading = kind.from_pretrained(
            files.path,
            config=config,
            dtype=spec.dtype.value,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below
            **options,
        )
    if not spec.allow_missing_weights:
        check_filled(files.name, model, loading)
    check_numbers(files.name, model)
    return model  # type: ignore[no-any-return]


def _class_of(files: ModelFiles, config: Any) -> Any:
    for auto in PIPELINE_REGISTRY.check_task(TASK)[1]["pt"]:
        if type(config) in auto._model_mapping or auto.__name__ in getattr(config, "auto_map", {}):  # noqa: SLF001
            return auto
    for name in config.architectures or ():
        if hasattr(transformers, name):
            return getattr(transformers, name)
    raise ModelUnusable(f"'{files.name}' names no class of transformers {transformers.__version__} in its config.json")


def _is_auto(kind: Any) -> bool:
    return hasattr(kind, "_model_mapping")
