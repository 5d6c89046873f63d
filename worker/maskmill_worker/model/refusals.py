"""Which models cannot be loaded, or are none of image segmentation, said in a sentence with the way on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from maskmill.errors import DeviceLost, HubUnavailable, ModelUnavailable, ModelUnusable, one_line
from maskmill.models import hub
from maskmill_worker.model.device_errors import out_of_memory, raise_if_lost

TAKES = "Maskmill takes models of transformers' image-segmentation pipeline (Mask2Former, SegFormer, DETR and others)"
PROMPTED = ("sam", "sam2", "sam3", "sam_hq", "edgetam", "sam2_video", "sam3_video", "sam3_tracker", "seggpt")
TOLD = ("clipseg", "groupvit", "owlvit", "owlv2", "grounding-dino", "mm-grounding-dino", "sam3_lite_text")
OWN_CODE = "code of its own, which a worker runs only if its MASKMILL_TRUSTED_MODELS names it"


def admitted() -> dict[str, str]:
    """The model types of the stock pipeline, each with a class that it loads."""
    kinds = ("UNIVERSAL", "INSTANCE", "SEMANTIC", "IMAGE")
    mappings = (getattr(modeling_auto, f"MODEL_FOR_{kind}_SEGMENTATION_MAPPING_NAMES") for kind in kinds)
    return {name: kind for mapping in mappings for name, kind in mapping.items()}


def check_kind(name: str, config: Mapping[str, Any], *, runs_code: bool) -> None:
    """Raises `ModelUnusable` for a model whose configuration says that it is none of image segmentation."""
    if config.get("auto_map") and runs_code:
        return
    kind, architectures = config.get("model_type"), config.get("architectures") or []
    if reason := _refusal(kind, architectures, has_code=bool(config.get("auto_map"))):
        raise ModelUnusable(f"'{name}' {reason}")


def _refusal(kind: object, architectures: Sequence[str], *, has_code: bool) -> str | None:
    if kind in PROMPTED:
        return f"is a model of mask generation ({kind}), which wants points or boxes in each image; {TAKES}"
    if kind in TOLD:
        return f"is a model that wants a text beside each image ({kind}); {TAKES}"
    if kind in admitted():
        return None if kind in _loadable() or architectures else _unnamed(str(kind))
    if has_code:
        return f"has {OWN_CODE}"
    if not kind:
        return "has no model_type in its config.json: no transformers model"
    if kind not in CONFIG_MAPPING:
        return f"is of the type '{kind}', which transformers {transformers.__version__} does not know; {TAKES}"
    if not any("Segmentation" in each for each in architectures):
        return f"is no model of image segmentation ({', '.join(architectures) or kind}); {TAKES}"
    return None


def _loadable() -> set[str]:
    """Types that the stock pipeline loads without being told a class."""
    return {*modeling_auto.MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES} | {
        *modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
    }


def _unnamed(kind: str) -> str:
    return f'does not say which class it is: put "architectures": ["{admitted()[kind]}"] into its config.json'


def explained(name: str, error: Exception) -> str:
    """Why a model cannot be loaded, for what transformers raised."""
    text = str(error)
    if "trust_remote_code" in text:
        return f"'{name}' has {OWN_CODE}"
    if "Unrecognized image processor" in text:
        processor = "an image processor that transformers does not know (preprocessor_config.json)"
        return f"'{name}' has {processor}: name one with --image-processor"
    if type(error).__name__ == "SafetensorError":
        return f"the weights of '{name}' are broken or cut off ({one_line(error, 100)}): get them anew"
    if "weights_only" in text or "weights only" in text.lower():
        return f"the weights of '{name}' are a pickle that holds more than tensors: save them as safetensors"
    return f"'{name}' cannot be loaded: {one_line(error)}"


@contextmanager
def errors_of(name: str) -> Iterator[None]:
    """What is raised for the model, or the image processor, of this name becomes one of ours: passing, or final."""
    try:
        yield
    except (ModelUnavailable, DeviceLost):
        raise
    except Exception as error:
        raise_if_lost(error)
        if hub.is_outage(error):
            kind = ModelUnavailable if hub.is_offline() else HubUnavailable
            raise kind(f"{hub.hub_unreachable(name)} ({one_line(hub.outage_of(error))})") from error
        if _passes(error):
            raise ModelUnavailable(f"'{name}' cannot be loaded now: {one_line(error)}") from error
        raise ModelUnusable(explained(name, error)) from error


def _passes(error: Exception) -> bool:
    """Whether the same files may load another time: memory, or the file system's errors."""
    return isinstance(error, MemoryError) or out_of_memory(error) or getattr(error, "errno", None) is not None
