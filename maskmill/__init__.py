"""Maskmill: an asynchronous batch job queue for image segmentation.

`from maskmill import Client` loads the client and what it needs; `import maskmill` alone loads nothing (PEP 562).
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
else:
    HOMES = {
        "Client": "client",
        "Job": "job",
        "MaskmillError": "errors",
        "Result": "result",
        "Segment": "schema",
        "Settings": "settings",
        "Spec": "schema",
    }

    def __getattr__(name: str) -> object:
        """One of the public names, from its module at the first use."""
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
        return found

    def __dir__() -> list[str]:
        return [*globals(), *HOMES]


__all__ = ["Client", "Job", "MaskmillError", "Result", "Segment", "Settings", "Spec"]
