"""What the exit codes of `maskmill` and `maskmill-worker` mean."""

USAGE = 2
MODEL = 3
FAILURES = 4
UNAVAILABLE = 5
INTERRUPTED = 130
