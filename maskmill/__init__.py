"""Maskmill: an asynchronous batch job queue for image segmentation.

`maskmill.run(images)` segments on this machine; `maskmill.Client` submits to a fleet. Both load what they need at
their first use: `import maskmill` alone loads nothing (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskmill.client import Client
    from maskmill.errors import MaskmillError
    from maskmill.job import Job
    from maskmill.result import Result
    from maskmill.schema import Segment, Spec
    from maskmill.settings import Settings
    from maskmill_producer.local.python_run import run

    __version__: str
else:
    HOMES = {
        "Client": "maskmill.client",
        "Job": "maskmill.job",
        "MaskmillError": "maskmill.errors",
        "Result": "maskmill.result",
        "Segment": "maskmill.schema",
        "Settings": "maskmill.settings",
        "Spec": "maskmill.schema",
        "run": "maskmill_producer.local.python_run",
    }

    def __getattr__(name: str) -> object:
        """One of the public names, from its module at the first use."""
        if name == "__version__":
            found = import_module("importlib.metadata").version(__name__)
        elif name in HOMES:
            found = getattr(import_module(HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return [*globals(), *HOMES, "__version__"]


__all__ = ["Client", "Job", "MaskmillError", "Result", "Segment", "Settings", "Spec", "__version__", "run"]
