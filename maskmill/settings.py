"""Settings from `MASKMILL_*` and the usual `AWS_*` variables or a `.env` file: passed in, never read at import."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import structlog
from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from maskmill.access import ALL, Access
from maskmill.broker.address import BrokerAddress
from maskmill.cores import usable_cores
from maskmill.errors import InvalidSettings
from maskmill.suggest import did_you_mean
from maskmill.validation import wrong_field

log = structlog.get_logger(__name__)

ENV_PREFIX, ENV_FILE = "MASKMILL_", ".env"

NO_SETTINGS = {"MASKMILL_BROKER_PASSWORD", "MASKMILL_DRAIN_FILE"}
"""Of docker-compose.yml; of a worker for its own processes."""


def _web_address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("write http://HOST:PORT or https://HOST")
    return text


class S3Settings(BaseModel):
    """An object store. What is None is left to boto3's own chain (environment, profiles, instance roles…)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint_url: Annotated[str, AfterValidator(_web_address)] | None = None
    """The store's address, such as `https://s3.example`; unset: AWS itself."""

    region: str | None = None
    """Its region; many stores take any."""

    access_key_id: str | None = None
    """The name of the credentials."""

    secret_access_key: SecretStr | None = None
    """Their secret: never shown."""

    session_token: SecretStr | None = None
    """The token of temporary credentials: never shown."""

    anonymous: bool = False
    """Sign no request: for public buckets."""

    requester_pays: bool = False
    """Read buckets whose requesters pay (`x-amz-request-payer`)."""

    addressing_style: Literal["auto", "path", "virtual"] | None = None
    """Whether the bucket is named in the path or in the host; unset: as boto3 decides."""

    ca_bundle: FilePath | None = None
    """Certificates (PEM) that an `https://` store may be vouched for by, in place of the usual ones."""

    client_cert: FilePath | None = None
    """Certificate (PEM) by which this machine proves to the store who it is."""

    client_key: FilePath | None = None
    """The key (PEM) of that certificate."""


class _AwsSettings(BaseSettings):
    """The usual `AWS_*` names, from the environment or `.env` (which boto3 does not read)."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore")

    endpoint_url: str | None = Field(None, validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    region: str | None = Field(None, validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    access_key_id: str | None = Field(None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_access_key: SecretStr | None = Field(None, validation_alias="AWS_SECRET_ACCESS_KEY")
    session_token: SecretStr | None = Field(None, validation_alias="AWS_SESSION_TOKEN")
    ca_bundle: Path | None = Field(None, validation_alias="AWS_CA_BUNDLE")
    client_cert: Path | None = Field(None, validation_alias="AWS_CLIENT_CERT")
    client_key: Path | None = Field(None, validation_alias="AWS_CLIENT_KEY")


def _s3_from_environment() -> S3Settings:
    return S3Settings(**{name: value or None for name, value in _AwsSettings()})


YES, NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


def _names(value: object) -> object:
    """`a, b` as two names. A yes names nobody: `MASKMILL_TRUSTED_MODELS=true` must not trust all."""
    if isinstance(value, bool | int):  # which pydantic-settings makes of `true` and `1` in an optional field
        value = str(value)
    if not isinstance(value, str):
        return value
    if value.strip().lower() in YES:
        raise ValueError(f"{value.strip()!r} names nothing: write names, or all")
    if value.strip().lower() in NO:
        return ()
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _hosts(value: object) -> object:
    """As names; but yes stands for all of them: the setting's name may be read as a switch's."""
    return (ALL,) if isinstance(value, str) and value.strip().lower() in YES else _names(value)


def _one_line(value: SecretStr) -> SecretStr:
    if not (value.get_secret_value().isascii() and value.get_secret_value().isprintable()):
        raise ValueError("write plain ASCII on one line")
    return value


def _or_none(value: object) -> object:
    """A variable that is set to nothing counts as unset."""
    return value or None


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_hosts)]
Seconds = Annotated[float, Field(gt=0.0)]
Positive = Annotated[int, Field(ge=1)]

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
HeaderValue = Annotated[SecretStr, AfterValidator(_one_line)]

MAX_LOADERS = 8


class Settings(BaseSettings):
    """One object for producer and worker; every field is `MASKMILL_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True)

    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis-protocol server for queue and ledger (docs/servers.md); may carry a password: never shown."""

    broker_ca: FilePath | None = None
    """Certificates (PEM) that a `rediss://` broker may be vouched for by, beside the system's own."""

    broker_cert: FilePath | None = None
    """Certificate (PEM) by which this machine proves to a broker who it is."""

    broker_key: FilePath | None = None
    """The key (PEM) of that certificate; may be in the same file."""

    bucket: str = "maskmill"
    """The bucket of jobs that are submitted without `--out`."""

    prefix: str = "out"
    """The prefix in it."""

    queue: str = "maskmill"
    """Name of the Celery queue and of its ledger; workers of another queue never see these jobs."""

    shard_size: Positive = 128
    """Images in a shard: the unit that is queued, claimed, retried and committed. Large jobs have larger ones, too."""

    window: Positive | None = None
    """Messages for idle workers that wait in the queue at most. None: one for each worker, at least 4."""

    lease_seconds: Seconds = 30.0
    """A claim that is not renewed for so long may be taken by another worker."""

    ended_job_seconds: Seconds = 30 * 86400.0
    """How long the broker keeps what it knows of a job after its end; the bucket keeps it until it is deleted."""

    max_attempts: Positive = 6
    """Attempts at one shard that fail for no image's fault before it is closed with its images failed."""

    drain_seconds: Seconds = 20.0
    """After SIGTERM, how long a worker may go on with its shards in flight before it gives them back."""

    device: str = "auto"
    """Where a worker runs the model: auto, cpu, cuda or cuda:N."""

    cores: Positive | None = None
    """Cores that a worker may count on, which `--devices` shares out among its workers. None: all that it may use."""

    batch_size: Positive | Literal["auto"] = 4
    """Images of equal shape in a forward pass; `auto` finds what is fastest and fits."""

    forward_threads: Positive | None = None
    """Forward passes at a time on a CPU, each with its share of torch's threads, never more than those. None: 2.
    Always 1 on a GPU, compiled, in `--deterministic` jobs, and for models with code of their own."""

    compile: bool = False
    """Run the model through `torch.compile`: slow first batches, faster ones after; needs a C++ compiler."""

    num_workers: Annotated[int, Field(ge=0)] | None = None
    """DataLoader processes; None: one less than the cores, at least 1 and at most 8."""

    max_batch_size: Positive = 256
    """The largest batch size that a job may ask for; the worker's own counts where it is more."""

    max_num_workers: Positive = MAX_LOADERS
    """The most DataLoader processes that a job may ask for, likewise."""

    max_fetch_timeout_seconds: Seconds = 3600.0
    """The longest time to fetch an image that a job may ask for, likewise."""

    fetch_threads: Positive = 16
    """Images that a worker fetches at a time, over all its DataLoader processes."""

    upload_threads: Positive = 8
    """Masks that a worker uploads at a time."""

    fetch_timeout_seconds: Seconds = 30.0
    """What one attempt to fetch an image from `http(s)://` may take, unless the job says."""

    max_image_bytes: Positive = 256 * 2**20
    """Larger files fail as `too_large`."""

    max_image_pixels: Positive = 178_956_970
    """Images with more pixels fail as `decompression_bomb`; Pillow warns at the same number."""

    image_timeout_seconds: Seconds = 120.0
    """What decoding and preprocessing one image may take; then its process is ended and the image has failed."""

    batch_timeout_seconds: Seconds = 600.0
    """What the model may take for one batch; then the worker process is ended, as if the batch had crashed it."""

    loader_memory_bytes: Positive = 6 * 2**30
    """Memory that a DataLoader process may take beyond what it starts with (Linux)."""

    fetch_proxy: SecretStr | None = None
    """Proxy for http(s) images: its address, or `environment` for what HTTP_PROXY and NO_PROXY say. None: direct."""

    host_requests_per_second: Annotated[float, Field(gt=0.0)] | None = None
    """How often a worker asks one image host at most. None: until the host says that it is too much."""

    host_headers: dict[str, dict[HeaderName, HeaderValue]] = {}
    """Headers for named image hosts, as JSON: `{"images.example": {"Authorization": "Bearer …"}}`."""

    allow_private_hosts: Hosts = ()
    """Hosts and networks (CIDR) that images may be fetched from although they are not public, or `all`."""

    trust_submitters: bool = False
    """Whoever can write to broker and bucket may have any local file and any bucket read: for one's own machine."""

    allowed_roots: Names | None = None
    """Folders that local paths must lie below, or `all`. None: any for trusted submitters, else none."""

    allowed_buckets: Names | None = None
    """Buckets that `s3://` sources may be in, or `all`. None: any for trusted submitters, else the results' alone."""

    allowed_models: Names | None = None
    """Models that submitters may have loaded, with `*` for anything: `demo, facebook/*, /models/*`. None: any."""

    trusted_models: Names = ()
    """Models whose own code may be run (transformers' `trust_remote_code`), in the same way; see docs/models.md."""

    log_json: bool = False
    """A worker's log as JSON lines, as by `--json`."""

    state_dir: Path | None = None
    """Where the embedded servers keep their data; None: the user's data folder."""

    store_without_conditions: Annotated[Literal["single-writer"] | None, BeforeValidator(_or_none)] = None
    """`single-writer`: take a store without conditional puts, with one worker. None: such a store is refused."""

    run_dir: Path | None = None
    """Where the workers of a machine show that they live; None: a folder of the user's among the temporary files."""

    s3: S3Settings = Field(default_factory=_s3_from_environment)
    """Where the results go; as JSON in `MASKMILL_S3` when that is another store than the sources'."""

    source_s3: S3Settings = Field(default_factory=_s3_from_environment)
    """Where `s3://` sources are read from."""

    anonymous: bool = False
    """Read `s3://` sources without credentials, as public buckets are."""

    requester_pays: bool = False
    """Read `s3://` sources at the cost of whoever the credentials are of, where the bucket's owner wants that."""

    @property
    def source_store(self) -> S3Settings:
        """Where and how `s3://` sources are read."""
        asked = {name: True for name in ("anonymous", "requester_pays") if getattr(self, name)}
        return self.source_s3.model_copy(update=asked)

    @property
    def out(self) -> str:
        """The default output prefix, `s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def broker_tls(self) -> dict[str, Any]:
        """redis-py's options for a broker behind TLS, for ledger and queue alike: its certificate must hold."""
        of_address = BrokerAddress.parse(self.broker_url.get_secret_value()).tls
        if not of_address:
            return {}
        files = {"ssl_ca_certs": self.broker_ca, "ssl_certfile": self.broker_cert, "ssl_keyfile": self.broker_key}
        named = {option: str(path) for option, path in files.items() if path}
        return {**of_address, **named}

    @property
    def access(self) -> Access:
        """What this worker reads for its submitters."""
        no_roots, own_bucket = (None, None) if self.trust_submitters else ((), (self.bucket,))
        roots, buckets = _bounds(self.allowed_roots, no_roots), _bounds(self.allowed_buckets, own_bucket)
        return Access(self.allow_private_hosts, roots, buckets)

    @property
    def cores_to_use(self) -> int:
        """As set, else those that this process may use."""
        return self.cores or usable_cores()

    @property
    def loader_processes(self) -> int:
        """DataLoader processes: as set, else one less than there are cores to use, from 1 to 8."""
        if self.num_workers is not None:
            return self.num_workers
        return max(1, min(MAX_LOADERS, self.cores_to_use - 1))

    @field_validator("fetch_proxy")
    @classmethod
    def _is_proxy(cls, proxy: SecretStr | None) -> SecretStr | None:
        text = proxy.get_secret_value() if proxy else ""
        if text and text != "environment" and not text.startswith(("http://", "https://")):
            raise ValueError("write http://HOST:PORT, or environment for what HTTP_PROXY and NO_PROXY say")
        return proxy if text else None

    @field_validator("broker_url")
    @classmethod
    def _is_understood(cls, url: SecretStr) -> SecretStr:
        BrokerAddress.parse(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        named = [name for name in ("broker_ca", "broker_cert", "broker_key") if getattr(self, name)]
        if named and not self.broker_tls:
            raise ValueError(
                f"MASKMILL_{named[0].upper()} is for a broker behind TLS: write MASKMILL_BROKER_URL=rediss://…"
            )
        if self.broker_key and not self.broker_cert:
            raise ValueError("MASKMILL_BROKER_KEY goes with MASKMILL_BROKER_CERT: set both")
        return self


def _bounds(named: tuple[str, ...] | None, otherwise: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names that bound what is read; None for no bounds."""
    return otherwise if named is None else None if ALL in named else named


def load_settings() -> Settings:
    """The settings of this process's environment; raises `InvalidSettings` naming the variable that is wrong.

    A `MASKMILL_` variable that is no setting has no effect, and is named in the log.
    """
    for name, meant in unknown_variables():
        log.warning("unknown_setting", name=name, reason=f"it has no effect{meant}")
    try:
        return Settings()
    except (ValidationError, SettingsError) as error:
        raise InvalidSettings(_what_is_wrong(error)) from None  # the cause may show a secret


def unknown_variables() -> Iterator[tuple[str, str]]:
    """Each `MASKMILL_` variable, of the environment or `.env`, that is no setting, and which one may be meant."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    given = {name.upper() for name in (*os.environ, *dotenv_values(ENV_FILE))}
    for name in sorted(given - known - NO_SETTINGS):
        if name.startswith(ENV_PREFIX):
            yield name, did_you_mean(name, known)


def _what_is_wrong(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        named = re.search(r'field "(\w+)"', str(error))
        return f"setting {_variable(named[1])}: should be JSON" if named else str(error)
    field, reason = wrong_field(error)
    return f"setting {_variable(field)}: {reason}" if field else reason  # of several together it names them


def _variable(field: str) -> str:
    """The variable that a setting was read from: of the store's, the first of its names that is set."""
    if field.startswith("AWS_") or field not in _AwsSettings.model_fields:
        return field if field.startswith("AWS_") else f"{ENV_PREFIX}{field.upper()}"
    alias = _AwsSettings.model_fields[field].validation_alias
    names = [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]
    given = {*os.environ, *dotenv_values(ENV_FILE)}
    return next((name for name in names if name in given), names[0])
