"""Messages and models from a submitter who means harm: logged and dropped, or refused with a code, never executed."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from celery import Celery

from maskmill import Client
from maskmill.queue import WORK
from maskmill.schema import JobState
from maskmill.settings import Settings
from tests.conftest import DEMO_SAMPLES, StartWorker

WAIT_SECONDS = 600
JOB = "20261122-205301-9f86d081"


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def hostile_messages(settings: Settings, evil: Path) -> None:
    """All that somebody who can write to the broker might put into the queue."""
    app = Celery("stranger", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    good = {"version": 1, "job": JOB, "shard": 0, "out": settings.out}
    bodies: list[Any] = [
        {},
        None,
        [1, 2],
        "x" * 5_000_000,
        good | {"job": "../../../etc/passwd"},
        good | {"job": f"{JOB}/../{JOB}"},
        good | {"shard": -1},
        good | {"shard": 10**30},
        good | {"out": "file:///etc"},
        good | {"version": 2},
        good | {"colour": "red"},
    ]
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        send = {"producer": producer, "queue": settings.queue}
        for body in bodies:
            app.send_task(WORK, (body,), **send)
        app.send_task(WORK, (), {"message": good, "more": 1}, **send)
        app.send_task("os.system", ("true",), **send)
        app.send_task(WORK, (Touch(evil),), serializer="pickle", **send)
        producer.publish(b"\x80\xff not a message", routing_key=settings.queue, content_type="application/json")
        producer.publish(
            pickle.dumps(Touch(evil)), routing_key=settings.queue, content_type="application/x-python-serialize"
        )


def test_hostile_messages_are_dropped_and_the_worker_goes_on(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    hostile_messages(client.settings, tmp_path / "evil")
    worker = start_worker()
    manifest = client.submit(str(DEMO_SAMPLES), model="demo").wait(WAIT_SECONDS)
    assert manifest.state is JobState.COMPLETED
    assert worker.process.poll() is None
    assert not (tmp_path / "evil").exists()
    assert "shard_given_back" not in worker.log.read_text()


def test_a_worker_loads_only_the_models_that_it_allows(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker(MASKMILL_ALLOWED_MODELS="demo", MASKMILL_ALLOWED_ROOTS=str(tmp_path / "photos"))
    shutil.copytree(DEMO_SAMPLES, tmp_path / "photos")
    job = client.submit(str(tmp_path / "photos"), model=str(tmp_path / "evil-model"))
    assert set(job.wait(WAIT_SECONDS).failures) == {"model_refused"}
    mixed = client.submit([str(tmp_path / "photos"), str(DEMO_SAMPLES)], model="demo")
    counts = mixed.wait(WAIT_SECONDS).counts
    codes = Counter(outcome.code for outcome in mixed.outcomes())
    assert counts.stored == counts.failed == codes["refused"] > 0


def test_a_model_with_code_of_its_own_and_one_of_pickles_run_nothing(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker_model = Path(__file__).parents[2] / "worker" / "maskmill_worker" / "demo_model"
    evil = tmp_path / "evil"
    own_code, pickled = tmp_path / "own-code", tmp_path / "pickled"
    for folder in (own_code, pickled):
        shutil.copytree(worker_model, folder)
    config = json.loads((own_code / "config.json").read_text())
    config["model_type"] = "its-own"
    config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModelForImageSegmentation"), "code.Evil")
    (own_code / "config.json").write_text(json.dumps(config))
    (own_code / "code.py").write_text(f"open({str(evil)!r}, 'w')\nclass Evil: pass\n")
    for weights in pickled.glob("*.safetensors"):
        weights.unlink()
    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Touch(evil)}))
    start_worker()
    for folder in (own_code, pickled):
        manifest = client.submit(str(DEMO_SAMPLES), model=str(folder)).wait(WAIT_SECONDS)
        assert set(manifest.failures) == {"model_unusable"}
    assert not evil.exists()
