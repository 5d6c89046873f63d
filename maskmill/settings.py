"""Settings from `MASKMILL_*` and the usual `AWS_*` variables or a `.env` file: passed in, never read at import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _aws(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class S3Settings(BaseSettings):
    """Where the object store is. What is unset is left to boto3's own chain (profiles, instance roles…)."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, populate_by_name=True)

    endpoint_url: str | None = Field(None, validation_alias=_aws("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    region: str | None = Field(None, validation_alias=_aws("AWS_REGION", "AWS_DEFAULT_REGION"))
    access_key_id: str | None = Field(None, validation_alias=_aws("AWS_ACCESS_KEY_ID"))
    secret_access_key: SecretStr | None = Field(None, validation_alias=_aws("AWS_SECRET_ACCESS_KEY"))
    session_token: SecretStr | None = Field(None, validation_alias=_aws("AWS_SESSION_TOKEN"))


Seconds = Annotated[float, Field(gt=0.0)]
Positive = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """One object for producer and worker; every field is `MASKMILL_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="MASKMILL_", env_file=".env", extra="ignore", frozen=True)

    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis-protocol server for queue and ledger; may carry a password, so it is never shown."""

    bucket: str = "maskmill"
    prefix: str = "out"
    queue: str = "maskmill"
    """Name of the Celery queue and of its ledger; workers of another queue never see these jobs."""

    shard_size: Positive = 128
    """Images in a shard: the unit that is queued, claimed, retried and committed."""

    window: Positive = 16
    """Shards of one job that are queued or claimed at a time, whatever the job's size."""

    lease_seconds: Seconds = 30.0
    """A claim that is not renewed for so long may be taken by another worker."""

    hint_seconds: Seconds = 60.0
    """A queued shard that nobody claimed for so long is announced again (its message may be lost)."""

    max_attempts: Positive = 3
    """Claims of one shard before it is closed with its images failed."""

    drain_seconds: Seconds = 20.0
    """After SIGTERM, how long a worker may go on with the shard in hand before it gives the shard back."""

    device: str = "auto"
    """Where a worker runs the model: auto, cpu, cuda or cuda:N."""

    batch_size: Positive = 4
    num_workers: Annotated[int, Field(ge=0)] | None = None
    """DataLoader processes; None: one less than the cores, at least 1 and at most 8."""

    upload_threads: Positive = 8
    fetch_timeout_seconds: Seconds = 30.0
    max_image_bytes: Positive = 256 * 2**20
    max_image_pixels: Positive = 178_956_970
    """Pillow's own limit for a warning, here a refusal."""

    log_json: bool = False

    state_dir: Path | None = None
    """Where the embedded servers keep their data; None: the user's data folder."""

    s3: S3Settings = Field(default_factory=S3Settings)

    @property
    def out(self) -> str:
        """The default output prefix, `s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")
