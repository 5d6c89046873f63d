"""`errors.md`: every error's code, when it is raised, and what to do."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import maskmill
import maskmill_producer
import maskmill_worker
from docs.reference.markdown import code, docstring, head, linked, table
from maskmill import exit_codes
from maskmill.errors import ImageError, MaskmillError, ShardError, UsageError

INTRODUCTION = """\
Codes are stable: scripts may compare them. They stand in `failures.jsonl`, in `maskmill failures` and `status`, and in
the one line of JSON that a failed command prints with `--json`. What is left out of a job on purpose has reasons of
its own: [sources](sources.md).
"""
OF_A_SHARD = """\
No image is to blame. What is *tried again* is given back and taken by any worker, later; if that does not help, or
cannot, the shard's images fail with the code. Broker, store and hub are waited for as long as it takes, broker and
store also where they refuse, and a lost lease or a cancelled job leaves the shard to others: these fail no image.\
"""
OF_A_COMMAND = """\
One line on the terminal, and exit code 2; 5 for `embedded_failed`. Errors of a shard that end a command have 5, those
of models 3.\
"""
FAMILIES = {
    "Of one image": (ImageError, "Its neighbours are stored. What is *tried again* was tried three times in all."),
    "Of a shard": (ShardError, OF_A_SHARD),
    "Of a command": (UsageError, OF_A_COMMAND),
}
EXITS = (
    (0, "completed"),
    (1, "`maskmill-worker health`: a worker does not live, or there is none"),
    (exit_codes.USAGE, "wrong use: an option, a source or a setting"),
    (exit_codes.MODEL, "the model cannot be had"),
    (exit_codes.FAILURES, "completed with failures, cancelled, or masks that could not be copied"),
    (exit_codes.UNAVAILABLE, "broker, store or worker are not there; the workers of a fleet keep ending"),
    (exit_codes.INTERRUPTED, "interrupted by Ctrl-C or SIGTERM: `interrupted` in JSON"),
)


def page() -> str:
    """The whole page."""
    found = sorted(set(_errors()), key=lambda each: each.code)
    parts = [
        head("Errors and exit codes", "the error classes (`maskmill/errors.py`)"),
        INTRODUCTION,
        "## Exit codes\n",
        table(("code", "meaning"), ((str(number), text) for number, text in EXITS)),
    ]
    for title, (family, text) in FAMILIES.items():
        members = [each for each in found if issubclass(each, family)]
        found = [each for each in found if each not in members]
        parts += [f"## {title}\n", f"{text}\n", _table(members)]
    return "\n".join([*parts, "## Others\n", _table(found)])


def _table(members: list[type[MaskmillError]]) -> str:
    rows = ((code(each.code), _when(each), linked(each.cure)) for each in members)
    return table(("code", "when", "what to do"), rows)


def _when(error: type[MaskmillError]) -> str:
    return linked(docstring(error)) + (" *Tried again.*" if error.retryable else "")


def _errors() -> Iterator[type[MaskmillError]]:
    """Every error class there is, once all modules are loaded."""
    for package in (maskmill, maskmill_producer, maskmill_worker):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    waiting = [MaskmillError]
    while waiting:
        each = waiting.pop()
        if "code" in vars(each):
            yield each
        waiting += each.__subclasses__()
