"""A store without conditional puts, in the hands of one worker: it looks first, and writes then."""

from __future__ import annotations

from maskmill.errors import ObjectNotFound
from maskmill.storage.store import Store

LOST = (
    "this store has no conditional puts: one worker alone may run, and a client that closes, cancels or retries a job "
    "in the very moment in which the worker decides it can overwrite the worker's word"
)


class SoleWriterStore(Store):
    """For `MASKMILL_STORE_WITHOUT_CONDITIONS=single-writer`. Between look and write another may have written."""

    conditional = False

    def put_if_absent(self, key: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write one object unless its key is taken; True if this call wrote it."""
        if self.exists(key):
            return False
        self.put(key, body, content_type)
        return True

    def replace(self, key: str, body: bytes, content_type: str, known: str) -> bool:
        """Write one object if the ETag there is still the `known` one; True if this call wrote it."""
        try:
            found = self._ask(self.client.head_object, key)
        except ObjectNotFound:
            return False
        if found.get("ETag", "").strip('"') != known.strip('"'):
            return False
        self.put(key, body, content_type)
        return True
