"""Variables that are no settings are named; codes that no error has are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from maskmill.errors import InvalidSettings, UsageError, check_codes
from maskmill.settings import load_settings


def named() -> list[tuple[str, str]]:
    with capture_logs() as logged:
        load_settings()
    return [(each["name"], each["reason"]) for each in logged if each["event"] == "unknown_setting"]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_variable_that_is_no_setting_is_named_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKMILL_BATCHSIZE", "8")
    monkeypatch.setenv("MASKMILL_NOTHING_LIKE_IT", "1")
    assert named() == [
        ("MASKMILL_BATCHSIZE", "it has no effect; did you mean 'MASKMILL_BATCH_SIZE'?"),
        ("MASKMILL_NOTHING_LIKE_IT", "it has no effect"),
    ]


def test_so_is_one_in_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MASKMILL_QEUE=night\nOTHER=1\n")
    assert named() == [("MASKMILL_QEUE", "it has no effect; did you mean 'MASKMILL_QUEUE'?")]


def test_settings_and_the_variables_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("maskmill_queue", "night")
    monkeypatch.setenv("MASKMILL_BROKER_PASSWORD", "x")
    monkeypatch.setenv("MASKMILLER", "x")
    assert named() == []


def test_a_code_that_no_error_has_is_refused_with_the_one_that_was_meant() -> None:
    check_codes(["timeout", "not_found", "loader_died"])
    check_codes(["of_a_newer_maskmill"], of_the_job={"of_a_newer_maskmill": 3})
    with pytest.raises(UsageError, match=r"code 'timout'; did you mean 'timeout'\?"):
        check_codes(["not_found", "timout"])


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MASKMILL_BATCH_SIZE", "many", "MASKMILL_BATCH_SIZE: should be a whole number, or should be 'auto'"),
        ("MASKMILL_BROKER_URL", "localhost:6379", "MASKMILL_BROKER_URL: write redis://"),
        ("AWS_ENDPOINT_URL_S3", "localhost:8333", "AWS_ENDPOINT_URL_S3: write http://HOST:PORT or https://HOST"),
        ("MASKMILL_SHARD_SIZE", "0", "MASKMILL_SHARD_SIZE: should be at least 1"),
        ("MASKMILL_COMPILE", "perhaps", "MASKMILL_COMPILE: should be true or false"),
        ("MASKMILL_S3", "{bad", "MASKMILL_S3: should be JSON"),
        ("MASKMILL_S3", '{"endpoint": 1}', "MASKMILL_S3: there is no 'endpoint'"),
        ("AWS_ENDPOINT_URL", "localhost:8333", "AWS_ENDPOINT_URL: write http://HOST:PORT or https://HOST"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettings, match=f"^setting {said}"):
        load_settings()
