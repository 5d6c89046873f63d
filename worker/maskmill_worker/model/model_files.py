"""Where a model's files are: hub name, local folder, or `demo`, which ships with the worker. Loads no torch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from maskmill.errors import ModelUnavailable, ModelUnusable
from maskmill.parameters import DEMO


def resolve(model: str) -> str:
    """The name that transformers can load: `demo` becomes the folder of the shipped model."""
    return str(files("maskmill_worker") / "demo_model") if model == DEMO else model


def check_reachable(model: str, revision: str | None) -> None:
    """Fail early, without torch: raises `ModelUnavailable` when the model's config is neither here nor on the hub."""
    name = resolve(model)
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise ModelUnusable(f"the folder '{model}' has no config.json: not a transformers model")
        return
    if name.startswith((".", "/", "~")):
        raise ModelUnavailable(f"no model folder '{model}'")
    _check_hub(model, revision)


def _check_hub(model: str, revision: str | None) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        hf_hub_download(model, "config.json", revision=revision)
    except HFValidationError as error:
        raise ModelUnavailable(f"'{model}' is neither a folder nor a model id such as owner/name") from error
    except HfHubHTTPError as error:
        raise ModelUnavailable(f"the hub has no model '{model}' for you ({type(error).__name__})") from error
    except Exception as error:  # offline: DNS, proxies, TLS… each with a type of its own
        raise ModelUnavailable(hub_unreachable(model)) from error


def hub_unreachable(model: str) -> str:
    """One line with the ways on."""
    return (
        f"the model hub cannot be reached to get '{model}': use --model demo, --model FOLDER (a local copy), "
        "or set HF_ENDPOINT to a mirror"
    )
