"""The console script. It loads nothing before Ctrl-C has an answer: the command's own modules take a second."""

from __future__ import annotations

import signal
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the `maskmill` command; interrupted at any moment, it ends with one line and exit code 130."""
    try:
        # SIGTERM takes the way of Ctrl-C, so that what was started is stopped in order.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from maskmill_producer.cli.main import app

        app()
    except KeyboardInterrupt:
        _say_stopped()
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):  # typer's, before any command
            _say_stopped()
        raise
    finally:
        # Python's own end waits for child processes: one more Ctrl-C ends that at once, without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _say_stopped() -> None:
    text = '{"error": "interrupted", "reason": "stopped"}' if "--json" in sys.argv else "error: stopped"
    print(text, file=sys.stderr)
