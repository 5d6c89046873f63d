"""Whether a model can be had, asked beside other work: a submitter is told what its workers may run into."""

from __future__ import annotations

import time
from threading import Thread

from maskmill.errors import ModelUnavailable
from maskmill.models.files import SpecFiles
from maskmill.schema import Spec

HUB_SECONDS = 5.0
"""What a hub may take to say that it has the model; nobody waits longer to be warned."""


class Doubt:
    """What stands against a spec's model, as far as this machine can tell: workers may run elsewhere.

    >>> doubt = Doubt(Spec(model="/models/gone"))  # asks in a thread: a hub may take its time
    >>> doubt.reason()
    "no model folder '/models/gone' on this worker's machine"
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._found: str | None = None
        self._asked = time.monotonic()
        self._thread = Thread(target=self._ask, name="doubt", daemon=True)
        self._thread.start()

    def reason(self, seconds: float = HUB_SECONDS) -> str | None:
        """The reason; None if there is none, or none was found within so many seconds of the question."""
        self._thread.join(max(0.0, seconds - (time.monotonic() - self._asked)))
        return self._found

    def _ask(self) -> None:
        try:
            SpecFiles.find(self._spec)
        except ModelUnavailable as error:
            self._found = str(error)
        except ImportError:  # a submitter without the hub's client cannot tell
            return
