"""The parameters that users know from the transformers pipeline, sorted into what changes masks and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

from maskmill.choices import Dtype, Subtask
from maskmill.errors import InvalidSpec

if TYPE_CHECKING:
    from maskmill.schema import Execution, Spec

DEMO = "demo"
"""The model that ships with the worker; never a folder, even where there is one of that name."""

GONE = {
    "framework": "only PyTorch is left in transformers; leave it out",
    "modelcard": "it never changed a result; leave it out",
    "args_parser": "it was internal to transformers; leave it out",
    "binary_output": "outputs are always stored as PNG segment maps; leave it out",
    "torch_dtype": "transformers renamed it: use dtype",
    "device": "a device belongs to a worker: start `maskmill-worker --device …`",
}


KINDS_OF_FILES = {
    **dict.fromkeys((".pt", ".pth"), "a file of PyTorch weights (YOLO and others)"),
    **dict.fromkeys((".ckpt", ".bin", ".safetensors"), "a file of weights alone"),
    ".onnx": "an ONNX model",
    ".engine": "a TensorRT engine",
    ".gguf": "a GGUF file",
    **dict.fromkeys((".tflite", ".pb", ".h5", ".keras"), "a TensorFlow model"),
    ".json": "a configuration",
}
"""What people try to give as a model, by the name's end."""


class TorchDtype(Protocol):
    """What `torch.dtype` is for who does not import torch."""

    @property
    def is_floating_point(self) -> bool:
        """Whether its values are not whole."""

    @property
    def itemsize(self) -> int:
        """Bytes a value."""


class PipelineParameters(TypedDict, total=False):
    """The parameters of a job, by the pipeline's names; None is the same as leaving one out.

    Their meanings and defaults are those of `maskmill.schema.Spec` and `Execution`.
    """

    model: str | None
    revision: str | None
    image_processor: str | None
    subtask: Subtask | Literal["panoptic", "instance", "semantic"] | None
    threshold: float | None
    mask_threshold: float | None
    overlap_mask_area_threshold: float | None
    dtype: Dtype | Literal["auto", "float32", "float16", "bfloat16"] | TorchDtype | None
    scale: str | None
    allow_missing_weights: bool | None
    batch_size: int | Literal["auto"] | None
    num_workers: int | None
    timeout: float | None
    deterministic: bool | None
    overwrite: bool | None
    anonymous: bool | None
    priority: int | None
    max_failures: int | str | None


def parse(**parameters: Any) -> tuple[Spec, Execution]:
    """Sort pipeline parameters; None means 'not given'. Raises `InvalidSpec` naming what is wrong and the cure.

    `parse(model="demo", batch_size=8)` is `(Spec(model="demo"), Execution(batch_size=8))`.
    """
    # Here, so that `maskmill --help`, which needs the names alone, does not build the records.
    from pydantic import ValidationError

    from maskmill.schema import Execution, Spec
    from maskmill.validation import wrong_field

    given = {name: value for name, value in parameters.items() if value is not None}
    for name in given:
        _check_name(name)
    given |= {"dtype": _dtype_name(given["dtype"])} if "dtype" in given else {}
    given |= {name: _absolute(name, given[name]) for name in ("model", "image_processor") if name in given}
    try:
        return (
            Spec(**{name: value for name, value in given.items() if name in Spec.model_fields}),
            Execution(**{name: value for name, value in given.items() if name in Execution.model_fields}),
        )
    except ValidationError as error:
        name, reason = wrong_field(error)
        raise InvalidSpec(f"{name}: {reason}") from error


def _check_name(name: str) -> None:
    if name in GONE:
        raise InvalidSpec(f"{name}: {GONE[name]}")
    if name not in PipelineParameters.__annotations__:
        raise InvalidSpec(f"{name}: no such parameter; there are {', '.join(PipelineParameters.__annotations__)}")


def _dtype_name(dtype: Any) -> Any:
    """`torch.float16` as `float16`, as the pipeline takes both."""
    return str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype


def _absolute(name: str, model: Any) -> Any:
    """A local folder by its full path: a worker has another current directory."""
    if not isinstance(model, str) or model in ("", DEMO):
        return model
    if Path(model).is_file() or ("/" not in model and Path(model).suffix.lower() in KINDS_OF_FILES):
        raise InvalidSpec(f"{name}: {not_a_folder(model)}")
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def not_a_folder(path: str) -> str:
    """What a file that was given as a model is, and what a model is.

    >>> not_a_folder("yolo11n-seg.pt").partition(":")[0]
    "'yolo11n-seg.pt' is a file of PyTorch weights (YOLO and others), not a model"
    """
    kind = KINDS_OF_FILES.get(Path(path).suffix.lower(), "a file")
    return f"'{path}' is {kind}, not a model: name the folder that `save_pretrained` wrote, or a model id of the hub"
