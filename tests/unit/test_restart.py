from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

PROGRAM = """
import os, subprocess, sys, threading
from maskmill_worker.process.restart import restart
if "AGAIN" in os.environ:
    print(os.getpid(), *sys.argv[1:], "ADDED" in os.environ, flush=True)
    sys.exit()
child = subprocess.Popen(["sleep", "600"])
print(os.getpid(), child.pid, flush=True)
environment = dict(os.environ) | {"AGAIN": "1"}
os.environ["ADDED"] = "1"
thread = threading.Thread(target=restart, args=(environment,))  # as in a worker, whose main thread may hang
thread.start()
thread.join()
"""


def test_the_same_command_runs_anew_in_the_same_process_without_its_children(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, str(program), "--device", "cpu"], env=os.environ, capture_output=True, text=True, timeout=600
    )
    first, second = ended.stdout.splitlines()
    pid, child = first.split()

    assert second == f"{pid} --device cpu False", "the environment is the one that was given"
    assert ended.returncode == 0
    assert not psutil.pid_exists(int(child))
