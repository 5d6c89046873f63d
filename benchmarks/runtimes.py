"""What else runs a checkpoint on a CPU: its export to ONNX, by ONNX Runtime or OpenVINO, in the stock pipeline.

That is what optimum does (`pipeline(..., model=ORTModel…)`); optimum-onnx 0.1 wants transformers < 4.58 and
optimum-intel 2.2 < 5.6, so the export is torch's own. All compute in float32: OpenVINO would take bfloat16 where the
processor has it (docs.openvino.ai, 'Precision Control'), and give other masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import pipeline
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.models.detr.modeling_detr import DetrSegmentationOutput

from benchmarks.images import cache, made_once

ONNX_RUNTIME, OPENVINO = "ONNX Runtime", "OpenVINO"
PACKAGES = {ONNX_RUNTIME: "onnxruntime", OPENVINO: "openvino"}
OUTPUTS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "DetrForSegmentation": (DetrSegmentationOutput, ("logits", "pred_masks")),
    "SegformerForSemanticSegmentation": (SemanticSegmenterOutput, ("logits",)),
}
"""By the model's class: what its forward returns, and the parts that post-processing reads."""

Run = Callable[[dict[str, Any]], Sequence[Any]]
"""Arrays by name in, arrays out."""


class Exported(nn.Module):
    """The model with tensors alone as inputs and outputs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.names = OUTPUTS[type(model).__name__][1]

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """The parts by place."""
        outputs = self.model(**inputs)
        return tuple(outputs[name] for name in self.names)


def onnx_file(model: Path) -> Path:
    """The checkpoint as ONNX, exported once: for any batch size, and any image size where the processor keeps it."""
    return made_once(_name(model), partial(_export, model)) / "model.onnx"


def is_exported(model: Path) -> bool:
    """Whether `onnx_file` finds it ready."""
    return (cache() / _name(model)).exists()


def _name(model: Path) -> str:
    return f"{model.name}-onnx-{version('torch')}"


def _export(model: Path, folder: Path) -> None:
    pipe = pipeline("image-segmentation", model=str(model), device="cpu")
    image = Image.new("RGB", (64, 48))
    inputs = dict(pipe.image_processor(images=[image, image], return_tensors="pt"))
    any_size = "shortest_edge" in pipe.image_processor.size
    free = {name: _free(value.ndim, any_size) for name, value in inputs.items()}
    torch.onnx.export(
        Exported(pipe.model).eval(),
        kwargs=inputs,
        f=folder / "model.onnx",
        input_names=list(inputs),
        output_names=list(OUTPUTS[type(pipe.model).__name__][1]),
        dynamic_shapes={"inputs": free},
        dynamo=True,
        verbose=False,
    )


def _free(dimensions: int, any_size: bool) -> dict[int, Any]:
    """The batch, and height and width, which are last."""
    places = {0, dimensions - 2, dimensions - 1} if any_size else {0}
    return dict.fromkeys(places, torch.export.Dim.DYNAMIC)


def run_by(runtime: str, pipe: Any, onnx: Path, threads: int) -> None:
    """Have the pipeline's model run by this runtime; torch's weights are given up."""
    run = {ONNX_RUNTIME: _onnx_runtime, OPENVINO: _openvino}[runtime](onnx, threads)
    kind, names = OUTPUTS[type(pipe.model).__name__]

    def forward(**inputs: Tensor) -> Any:
        outputs = run({name: value.numpy() for name, value in inputs.items()})
        return kind(**{name: torch.from_numpy(value) for name, value in zip(names, outputs, strict=True)})

    pipe.model.to("meta").forward = forward


def _onnx_runtime(onnx: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # onnxruntime#13808: torch runs here, too
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None)


def _openvino(onnx: Path, threads: int) -> Run:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(onnx, "CPU", settings)

    def run(inputs: dict[str, Any]) -> Sequence[Any]:
        found = compiled(inputs)
        return [found[output] for output in compiled.outputs]

    return run
