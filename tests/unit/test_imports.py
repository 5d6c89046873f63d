"""What importing our modules does not do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BAD = {"MASKMILL_BROKER_URL": "nonsense", "MASKMILL_BATCH_SIZE": "nonsense"}


MODULES = ("maskmill", "maskmill_producer.cli.main", "maskmill_worker.cli", "maskmill_worker.main_process")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_read_from_the_environment_at_import(module: str) -> None:
    imported = subprocess.run(
        [sys.executable, "-c", f"import {module}"], env=os.environ | BAD, capture_output=True, text=True, timeout=600
    )
    assert imported.returncode == 0, imported.stderr


def test_the_app_of_a_pool_process_has_task_and_settings() -> None:
    """Celery pickles the app for a spawned process, which has imported nothing of ours yet."""
    made = "import pickle, sys; from maskmill import Settings; from maskmill_worker.tasks import make_app\n"
    made += "sys.stdout.buffer.write(pickle.dumps(make_app(Settings(queue='q7', device='cpu', _env_file=None))))"
    used = "import pickle, sys; app = pickle.load(sys.stdin.buffer); app.loader.init_worker(); app.finalize()\n"
    used += "from maskmill_worker.tasks import settings_of\n"
    used += "print(settings_of(app).queue, 'maskmill.work' in app.tasks, app.conf.worker_enable_remote_control)"

    pickled = subprocess.run([sys.executable, "-c", made], env=os.environ, capture_output=True, check=True)
    unpickled = subprocess.run(
        [sys.executable, "-c", used], env=os.environ | BAD, input=pickled.stdout, capture_output=True, check=True
    )

    assert unpickled.stdout.split() == [b"q7", b"True", b"False"]
