"""`maskmill doctor`: a line each, JSON, exit codes; and the worker that is alone with a store without conditions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskmill import Client, exit_codes
from maskmill.storage import keys
from maskmill_producer import embedded
from maskmill_producer.cli.main import app
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.conftest import StartWorker, wait_for
from tests.integration.s3_modes import answering
from tests.integration.valkey import url, valkey

IGNORED = "conditions answered with 501 (Backblaze B2)"


def doctor(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    names = {name: value for name, value in environment.items() if name.startswith(("MASKMILL_", "AWS_"))}
    result = CliRunner().invoke(app, ["doctor", *arguments], env=names)
    return result.exit_code, result.stdout


def test_all_is_well_with_the_embedded_servers(environment: dict[str, str], tmp_path: Path) -> None:
    code, said = doctor(environment, "--folder", str(tmp_path))
    lines = said.splitlines()
    assert code == 0, said
    assert all(line.startswith("ok ") for line in lines)
    for part in ("machine: shared memory", f"room in {tmp_path}", "broker: eviction", "store: conditional put"):
        assert sum(part in line for line in lines) == 1, part


def test_what_is_wrong_is_a_line_each_with_its_cure(
    environment: dict[str, str], servers: embedded.Servers, tmp_path: Path
) -> None:
    with (
        valkey(tmp_path, "maxmemory-policy allkeys-lru") as port,
        answering(servers.s3_endpoint_url, IGNORED) as proxy,
    ):
        bad = environment | {"MASKMILL_BROKER_URL": url(port), "AWS_ENDPOINT_URL_S3": proxy.url}
        code, said = doctor(bad)
        machine_code, machine_said = doctor(bad, "--json")
    assert code == machine_code == exit_codes.USAGE
    wrong = {line.split(": ")[1]: line for line in said.splitlines() if not line.startswith("ok ")}
    assert "noeviction" in wrong["eviction"]
    assert wrong["eviction"].startswith("note")
    assert "MASKMILL_STORE_WITHOUT_CONDITIONS=single-writer" in wrong["conditional put"]
    assert wrong["conditional put"].startswith("WRONG")
    found = json.loads(machine_said)
    assert found["ok"] is False
    assert {each["check"] for each in found["checks"] if not each["ok"]} >= {
        "broker: eviction",
        "store: conditional put",
    }
    assert len(found["checks"]) == len(said.splitlines())


def test_a_server_that_is_away_hides_nothing_of_the_other(environment: dict[str, str]) -> None:
    code, said = doctor(environment | {"MASKMILL_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0"})
    assert code == exit_codes.UNAVAILABLE
    assert "WRONG broker: reachable" in said
    assert "ok    store: list" in said
    assert "hunter2" not in said


def test_a_store_that_nobody_asked_is_not_called_reachable(environment: dict[str, str], tmp_path: Path) -> None:
    nobody = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    elsewhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    code, said = doctor(environment | nobody | elsewhere)
    assert code == exit_codes.USAGE
    assert "WRONG store: put" in said
    assert "store: reachable" not in said


# One worker alone


def test_a_store_without_conditions_takes_one_worker_and_no_second(
    client: Client, servers: embedded.Servers, start_worker: StartWorker, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "some", 8)
    with answering(servers.s3_endpoint_url, IGNORED) as proxy:
        alone = {"AWS_ENDPOINT_URL_S3": proxy.url, "MASKMILL_STORE_WITHOUT_CONDITIONS": "single-writer"}
        first = start_worker(**alone)
        wait_for(lambda: "worker_ready" in first.log.read_text(), first.log.read_text)
        second = start_worker(**alone)

        job = client.submit(str(tmp_path / "some"), model="demo")
        manifest = job.wait(timeout=600)
        assert second.process.wait(600) == exit_codes.USAGE
        first.stop()
        assert not any(request.has("if-none-match") for request in proxy.seen if request.method == "PUT")

    account = check_account(job, [str(image) for image in images])
    assert (manifest.counts.stored, account.lost, account.duplicated) == (8, 0, 0)
    assert "store_without_conditions" in first.log.read_text()
    [error] = [line for line in second.log.read_text().splitlines() if line.startswith("error: ")]
    assert "another worker of this queue runs" in error


def test_a_second_worker_takes_over_from_one_that_was_killed(
    servers: embedded.Servers, start_worker: StartWorker
) -> None:
    alone = {"MASKMILL_STORE_WITHOUT_CONDITIONS": "single-writer"}
    first = start_worker(**alone)
    wait_for(lambda: "worker_ready" in first.log.read_text(), first.log.read_text)
    first.process.kill()
    second = start_worker(**alone)
    wait_for(lambda: "worker_ready" in second.log.read_text(), second.log.read_text)


def test_a_worker_with_conditions_refuses_the_job_and_says_why(
    client: Client, servers: embedded.Servers, start_worker: StartWorker, tmp_path: Path
) -> None:
    write_good(tmp_path / "some", 2)
    with answering(servers.s3_endpoint_url, IGNORED) as proxy:
        start_worker(AWS_ENDPOINT_URL_S3=proxy.url)
        job = client.submit(str(tmp_path / "some"), model="demo")
        wait_for(lambda: bool(job.status().trouble), job.status)
        assert "MASKMILL_STORE_WITHOUT_CONDITIONS" in str(job.status().trouble)
        assert not [request for request in proxy.seen if "/masks/" in request.path and request.method == "PUT"]
    assert not job.store.exists(keys.report(job.id, 0))


@pytest.mark.parametrize("value", ["yes", "many"])
def test_the_setting_takes_one_word(environment: dict[str, str], value: str) -> None:
    names = environment | {"MASKMILL_STORE_WITHOUT_CONDITIONS": value}
    result = CliRunner().invoke(app, ["doctor"], env=names)
    assert result.exit_code == exit_codes.USAGE
    assert "MASKMILL_STORE_WITHOUT_CONDITIONS" in result.stderr
    assert "single-writer" in result.stderr
