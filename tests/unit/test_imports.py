"""What importing our modules does not do."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import maskmill

BAD = {"MASKMILL_BROKER_URL": "nonsense", "MASKMILL_BATCH_SIZE": "nonsense"}


MODULES = ("maskmill", "maskmill_producer.cli.main", "maskmill_worker.cli", "maskmill_worker.main_process")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_read_from_the_environment_at_import(module: str) -> None:
    imported = subprocess.run(
        [sys.executable, "-c", f"import {module}"], env=os.environ | BAD, capture_output=True, text=True, timeout=600
    )
    assert imported.returncode == 0, imported.stderr


HEAVY = ("torch", "transformers", "pyarrow", "boto3", "celery", "numpy", "PIL", "pydantic", "rich", "httpx", "pandas")
LOADED = "import sys; print([name for name in {heavy} if name in sys.modules])"


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("import maskmill", set()),
        ("import maskmill; maskmill.__version__, dir(maskmill)", set()),
        ("import maskmill; maskmill.Client", {"boto3", "celery", "numpy", "PIL", "pydantic", "rich", "httpx"}),
        ("import maskmill; maskmill.run", {"boto3", "celery", "numpy", "PIL", "pydantic", "rich", "httpx"}),
    ],
)
def test_what_is_not_needed_is_not_loaded(statement: str, loaded: set[str]) -> None:
    program = f"{statement}\n{LOADED.format(heavy=HEAVY)}"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    assert set(eval(found.stdout)) <= loaded


def test_a_name_that_the_package_has_not_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(maskmill, "noth" + "ing")
    assert maskmill.__version__ == version("maskmill")
    assert {"run", "Client", "__version__"} <= set(dir(maskmill))


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
