"""`settings.md`: every setting, with the text that stands below it in `maskmill/settings.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from docs.reference.markdown import code, described, head, linked, table
from maskmill.settings import S3Settings, Settings, _AwsSettings

INTRODUCTION = """\
Environment variables, or lines of a file `.env` in the current directory. One set serves clients and workers; each
reads what it needs. A variable that is set to something impossible is named, with exit code 2. Names are separated by
commas. Options of a command count more than settings.
"""
STORES = """\
`MASKMILL_S3` and `MASKMILL_SOURCE_S3` hold the same as JSON, with the names in small letters and without `AWS_`:
`{"endpoint_url": "https://s3.example", "access_key_id": "…", "secret_access_key": "…"}`. They may say more: """
GROUPS = {
    "Servers": (
        "broker_url broker_ca broker_cert broker_key bucket prefix queue s3 source_s3 anonymous requester_pays "
        "store_without_conditions state_dir"
    ),
    "What a worker may read and load": (
        "trust_submitters allowed_roots allowed_buckets allow_private_hosts allowed_models trusted_models "
        "host_headers host_requests_per_second fetch_proxy"
    ),
    "Speed": (
        "device cores batch_size forward_threads num_workers fetch_threads upload_threads compile max_batch_size "
        "max_num_workers max_fetch_timeout_seconds shard_size window"
    ),
    "Limits of one image": (
        "fetch_timeout_seconds max_image_bytes max_image_pixels image_timeout_seconds loader_memory_bytes "
        "batch_timeout_seconds"
    ),
    "Workers and jobs": "lease_seconds max_attempts drain_seconds ended_job_seconds log_json run_dir",
}
MORE = "More"
EVERYWHERE = (
    ("HF_ENDPOINT", "The model hub; Hugging Face's unless set"),
    ("HF_HOME", "Where models from the hub are kept"),
    ("HF_TOKEN", "For gated and private models"),
    ("HF_HUB_OFFLINE", "`1`: take models from what is kept, ask no hub"),
    ("CUDA_VISIBLE_DEVICES", "The GPUs that a worker may see"),
    (
        "OMP_NUM_THREADS",
        "Torch's threads for a model on a CPU; unset: `MASKMILL_CORES`, where that is set",
    ),
)


def page() -> str:
    """The whole page."""
    texts = described(Settings)
    parts = [
        head("Settings", "`maskmill/settings.py`"),
        INTRODUCTION,
    ]
    for title, names in _groups().items():
        parts += [f"## {title}\n", table(("variable", "meaning", "unless set"), _rows(names, texts))]
    aws = described(S3Settings)
    rows = ((_aliases(field), aws[name], "") for name, field in _AwsSettings.model_fields.items())
    parts += [
        "## The object store\n",
        "For sources and results alike. What is unset is left to boto3's own chain: profiles, instance roles…\n",
        table(("variable", "meaning", "unless set"), rows),
        STORES + ", ".join(f"`{name}` ({_small(text)})" for name, text in aws.items() if name in _more()) + ".\n",
        "## Of others\n",
        "From the environment alone, not from `.env`.\n",
        table(("variable", "meaning"), ((code(name), text) for name, text in EVERYWHERE)),
    ]
    return "\n".join(parts)


def _groups() -> dict[str, list[str]]:
    named = {title: names.split() for title, names in GROUPS.items()}
    left = [name for name in Settings.model_fields if not any(name in names for names in named.values())]
    return named | ({MORE: left} if left else {})


def _rows(names: list[str], texts: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for name in names:
        default = _default(name, Settings.model_fields[name])
        yield code(f"MASKMILL_{name.upper()}"), _without_none(linked(texts[name])), default


def _without_none(text: str) -> str:
    """In the words of an environment: `None: any` is `Unset: any`."""
    return text.replace("; None: ", "; unset: ").replace("None: ", "Unset: ")


def _default(name: str, field: FieldInfo) -> str:
    """`256 MiB` for 268435456 bytes, `30 days` for 2592000 seconds."""
    value: Any = field.default
    if field.default_factory:
        return "as `AWS_*`"
    match value:
        case None | () | {}:
            return ""
        case SecretStr():
            return code(value.get_secret_value())
        case bool():
            return code(str(value).lower())
        case int() if name.endswith("_bytes"):
            return f"{value // 2**20} MiB" if value < 2**30 else f"{value // 2**30} GiB"
        case float() if name.endswith("_seconds"):
            return f"{value / 86400:g} days" if value >= 86400 else f"{value:,g}"
        case int():
            return f"{value:,}"
    return code(str(value))


def _aliases(field: FieldInfo) -> str:
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return " or ".join(code(str(name)) for name in names)


def _more() -> set[str]:
    return S3Settings.model_fields.keys() - _AwsSettings.model_fields.keys()


def _small(text: str) -> str:
    """A sentence within another."""
    return (text[0].lower() + text[1:]).removesuffix(".")
