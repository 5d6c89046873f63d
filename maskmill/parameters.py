"""The parameters that users know from the transformers pipeline, sorted into what changes masks and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskmill.errors import InvalidSpec
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


def parse(**parameters: Any) -> tuple[Spec, Execution]:
    """Sort pipeline parameters; None means 'not given'. Raises `InvalidSpec` naming what is wrong and the cure."""
    given = {name: value for name, value in parameters.items() if value is not None}
    for name in given:
        if name in GONE:
            raise InvalidSpec(f"{name}: {GONE[name]}")
        if name not in Spec.model_fields and name not in Execution.model_fields:
            known = ", ".join((*Spec.model_fields, *Execution.model_fields))
            raise InvalidSpec(f"{name}: no such parameter; there are {known}")
    given |= {name: _absolute(given[name]) for name in ("model", "image_processor") if name in given}
    try:
        return (
            Spec(**{name: value for name, value in given.items() if name in Spec.model_fields}),
            Execution(**{name: value for name, value in given.items() if name in Execution.model_fields}),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidSpec(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from error


def _absolute(model: Any) -> Any:
    """A local folder by its full path: a worker has another current directory."""
    is_folder = isinstance(model, str) and model not in ("", DEMO) and Path(model).is_dir()
    return str(Path(model).resolve()) if is_folder else model
