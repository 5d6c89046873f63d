"""What the embedded servers raise."""

from __future__ import annotations

from maskmill.errors import UsageError

INSTALL = "pip install 'maskmill[embedded]'"


class EmbeddedServersFailed(UsageError):
    """An embedded server is not installed, does not start or cannot be reached; the message tails its log."""

    code = "embedded_failed"
    cure = "Do what the message says; else `maskmill servers stop`, and start again."
