"""One side of a comparison in a process of its own: loaded and warm before the clock starts, its memory its own.

Requests and answers are JSON lines over stdin and stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maskmill.errors import one_line

ROOT = Path(__file__).parent.parent
END_SECONDS = 30.0


class Child:
    """A running `python -m benchmarks.<name>` that answers requests until its stdin is closed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def ask(self, request: str, **arguments: Any) -> Any:
        """The answer to one request; raises `RuntimeError` with what went wrong, or when the process has ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin  # noqa: S101 - both are pipes
        assert stdout  # noqa: S101
        stdin.write(json.dumps([request, arguments]) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()} at '{request}'")
        answer, error = json.loads(line)
        if error:
            raise RuntimeError(error)
        return answer


@contextmanager
def child(name: str, environment: Mapping[str, str] | None = None) -> Iterator[Child]:
    """A child process for the length of the block; what it prints goes to stderr."""
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", f"benchmarks.{name}"],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Child(process)
    finally:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """In the child: answer each request with what its handler returns, until stdin is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        request, arguments = json.loads(line)
        answer, failed = None, ""
        try:
            answer = handlers[request](**arguments)
        except Exception as error:  # noqa: BLE001 - for whoever has asked
            traceback.print_exc()
            failed = one_line(error)
        answers.write(json.dumps([answer, failed]) + "\n")
        answers.flush()
